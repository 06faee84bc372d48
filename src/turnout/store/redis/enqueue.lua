-- enqueue: record jobs, all or none. ARGV: now or '', a msgpack of {plain, others}, the script's limits.
--
--   plain   {queue, {id, ...}, {rest, ...}} for jobs that need nothing but a push, by queue
--   others  {id, queue, priority, run_at or false, rest, key, until, ttl} in the caller's order
--
-- The naive version pushes payloads as they are. They would carry the client's clock: a machine that
-- is a minute slow would jump every queue. So the client sends what follows the times, and they are
-- set in front here; by text, as everywhere.
--
-- Returns the ids whose unique key is taken. A refusal for want of memory comes before the first
-- command that writes, so nothing is half done.

local now = clock(ARGV[1])
local at = tonumber(now)
local batch = cmsgpack.unpack(ARGV[2])
local taken = {}

local function payload_of(id, run_at, priority, queue, rest, ready)
  local text = '{"jid":"' .. id .. '","turnout":{"run_at":' .. run_at .. ',"priority":' .. priority
    .. ',"queue":"' .. queue .. '"' .. rest .. now
  if ready then return text .. ',"enqueued_at":' .. now .. '}' end
  return text .. '}'
end

-- Pushes a whole group, sorted by id, in three commands; one by one it would be three for each job.
local function push(queue, ids, rests)
  local list = 'queue:' .. queue
  local known = call('HMGET', K .. 'jobs', unpack(ids))
  local hint = string.format('q|%.6f|0|%s', at, queue)
  local own = '","turnout":{"run_at":' .. now .. ',"priority":0,"queue":"' .. queue .. '"'
  local times = now .. ',"enqueued_at":' .. now .. '}'
  local payloads, hints, first = {}, {}, nil
  for i, id in ipairs(ids) do
    if not known[i] then
      first = first or id
      payloads[#payloads + 1] = '{"jid":"' .. id .. own .. rests[i] .. times
      hints[#hints + 1] = id
      hints[#hints + 1] = hint
    end
  end
  if #payloads == 0 then return end
  call('SADD', K .. 'queues', queue)
  local last = call('LINDEX', list, 0)
  local last_id, last_at
  if last then last_id, last_at = head(last) end
  if last_at and (last_at > at or (last_at == at and last_id > first)) then
    for i, payload in ipairs(payloads) do line_up(queue, hints[2 * i - 1], at, 0, payload) end
  else
    call('SADD', 'queues', queue)
    call('HSET', K .. 'jobs', unpack(hints))
    call('LPUSH', list, unpack(payloads))
  end
  ring(queue, #payloads)
end

local function record(job)
  local id, queue, priority, run_at, rest, key = job[1], job[2], job[3], job[4], job[5], job[6]
  if call('HEXISTS', K .. 'jobs', id) == 1 then return end
  if key then
    if is_held(key, at) then
      taken[#taken + 1] = id
      return
    end
    claim(key, id, job[7], job[8] and string.format('%.6f', at + job[8]) or '')
  end
  call('SADD', K .. 'queues', queue)
  local ready = not run_at or tonumber(run_at) <= at
  local payload = payload_of(id, run_at or now, priority, queue, rest, ready)
  if ready then
    line_up(queue, id, tonumber(run_at or now), priority, payload)
    ring(queue, 1)
  else
    call('SADD', 'queues', queue)
    call('ZADD', 'schedule', run_at, payload)
    call('HSET', K .. 'jobs', id, string.format('schedule|%.6f', tonumber(run_at)))
    add('scheduled', queue, 1)
    ring(queue, 1)  -- a sleeper must learn of an earlier due time
  end
end

for _, group in ipairs(batch[1]) do push(group[1], group[2], group[3]) end
for _, job in ipairs(batch[2]) do record(job) end
return taken
