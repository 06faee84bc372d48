-- surrender: end epochs and show what they still hold. ARGV: now or '', an epoch or '', a limit.
--
-- Without an epoch it ends every one whose deadline has passed. An epoch is over the moment this
-- begins; its leases stay where they are until `move` takes them away one by one, so whoever dies in
-- between leaves them to the next. Returns now, then for each job: epoch, worker, fence, since when,
-- id, payload, and whether somebody had asked it to stop.

local at, only, most = clock(ARGV[1]), ARGV[2], tonumber(ARGV[3])

insist()
local function finish(epoch)
  call('ZREM', K .. 'epochs', epoch)
  call('HDEL', K .. 'asleep', epoch)
  if not call('ZSCORE', K .. 'epochs:ended', epoch) then call('ZADD', K .. 'epochs:ended', at, epoch) end
  local name = worker_of(epoch)
  if name ~= '' then
    call('SREM', 'processes', name)
    call('DEL', name, name .. ':work', name .. ':workers')
    call('SADD', K .. 'over', epoch)
  end
end

if only ~= '' then
  finish(only)
else
  for _, epoch in ipairs(call('ZRANGEBYSCORE', K .. 'epochs', '-inf', '(' .. at, 'LIMIT', 0, 100)) do
    finish(epoch)
  end
end
call('ZREMRANGEBYRANK', K .. 'epochs:ended', 0, -10001)

local answer = {at}
local function show(epoch)
  local fences = call('HGETALL', K .. 'held:' .. epoch)
  if #fences == 0 then
    call('SREM', K .. 'over', epoch)
    call('DEL', K .. 'epoch:' .. epoch)
  end
  for i = 1, #fences, 2 do
    if (#answer - 1) / 7 >= most then return end
    local jobs = call('HGETALL', K .. 'lease:' .. epoch .. ':' .. fences[i])
    for j = 1, #jobs, 2 do
      if (#answer - 1) / 7 >= most then return end
      local asked = call('SISMEMBER', K .. 'cancel', jobs[j])
      for _, part in ipairs({epoch, worker_of(epoch), fences[i], fences[i + 1], jobs[j], jobs[j + 1], asked}) do
        answer[#answer + 1] = part
      end
    end
  end
end
for _, epoch in ipairs(call('SMEMBERS', K .. 'over')) do
  if only == '' or only == epoch then show(epoch) end
end
return answer
