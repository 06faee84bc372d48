-- heartbeat: renew an epoch, open it, or end it. ARGV: epoch, now or '', ttl, state, name, the worker
-- as JSON, then Sidekiq's fields of the process: info, concurrency, busy, quiet, rss (KB).
--
-- Sidekiq's own pages list a process by the set `processes` and a hash of its name that expires
-- within a minute, show what it runs from NAME:work, and leave orders in the list NAME-signals.
-- Returns 'lost', or 'open', an order of those or '', and the ids that somebody asked to stop; or
-- 'astray' when the server was restarted from a snapshot since the epoch began. What was settled
-- after that snapshot stands in its leases again, and nothing would ever end them: so the epoch is
-- given up, and what it holds goes back.

local epoch, at, name = ARGV[1], clock(ARGV[2]), ARGV[5]
local now = tonumber(at)
local held = K .. 'held:' .. epoch

if call('ZSCORE', K .. 'epochs:ended', epoch) then return {'lost'} end
if ARGV[4] == 'stopped' then
  call('ZREM', K .. 'epochs', epoch)
  call('ZADD', K .. 'epochs:ended', at, epoch)
  call('HDEL', K .. 'asleep', epoch)
  call('SADD', K .. 'over', epoch)
  call('SREM', 'processes', name)
  call('DEL', name, name .. ':work', name .. '-signals')
  return {'open', ''}
end

insist()
local report = call('INFO', 'server') .. call('INFO', 'persistence')
local run = string.match(report, 'run_id:(%w+)')
local begun = call('HGET', K .. 'epoch:' .. epoch, 'run')
if begun and begun ~= run and string.find(report, 'aof_enabled:0', 1, true) then
  call('ZREM', K .. 'epochs', epoch)
  call('ZADD', K .. 'epochs:ended', at, epoch)
  call('SADD', K .. 'over', epoch)
  return {'astray'}
end
call('ZADD', K .. 'epochs', string.format('%.6f', now + tonumber(ARGV[3])), epoch)
call('HSET', K .. 'epoch:' .. epoch, 'name', name, 'worker', ARGV[6], 'run', run)
call('SADD', 'processes', name)
call('HSET', name, 'info', ARGV[7], 'concurrency', ARGV[8], 'busy', ARGV[9], 'beat', at, 'quiet', ARGV[10],
  'rtt_us', 0, 'rss', ARGV[11])
call('EXPIRE', name, 60)

local asked, shown, order = {}, {}, call('RPOP', name .. '-signals')
local cancel = call('EXISTS', K .. 'cancel') == 1 and call('SMEMBERS', K .. 'cancel') or {}
local fences = call('HGETALL', held)
for i = 1, #fences, 2 do
  local lease = K .. 'lease:' .. epoch .. ':' .. fences[i]
  for _, id in ipairs(cancel) do
    if call('HEXISTS', lease, id) == 1 then asked[#asked + 1] = id end
  end
  if #shown < 100 then
    local some = call('HSCAN', lease, 0, 'COUNT', 25)[2]
    for j = 2, #some, 2 do
      local _, _, _, queue = head(some[j])
      shown[#shown + 1] = tostring(#shown)
      shown[#shown + 1] = cjson.encode({queue = queue, payload = some[j], run_at = math.floor(tonumber(fences[i + 1]))})
    end
  end
end
call('DEL', name .. ':work')
if #shown > 0 then
  call('HSET', name .. ':work', unpack(shown))
  call('EXPIRE', name .. ':work', 60)
end
return {'open', order or '', unpack(asked)}
