-- sleep: say that a worker sleeps, unless something is ready. ARGV: epoch, its queues with a comma on
-- both sides of each. Returns 0 when it should look, else the microseconds until something is due, or
-- -1. Saying so and looking are one script: an enqueue comes before it, and is seen, or after it,
-- and rings.

local epoch, names = ARGV[1], ARGV[2]
local now = tonumber(clock(''))

local queues = {}
local every = string.find(names, ',*,', 1, true)
for _, queue in ipairs(every and call('SMEMBERS', K .. 'queues') or {}) do
  queues[#queues + 1] = queue
end
for _, queue in ipairs(call('SINTER', K .. 'lanes:ready', K .. 'lanes')) do
  if every or string.find(names, ',' .. base_of(queue) .. ',', 1, true) then
    queues[#queues + 1] = queue
  end
end
for queue in string.gmatch(names, '[^,]+') do
  if queue ~= '*' then queues[#queues + 1] = queue end
end
for _, queue in ipairs(queues) do
  if is_ready(queue) and not is_paused(queue) then return 0 end
end
local due = nil
for _, set in ipairs({'schedule', 'retry'}) do
  local first = call('ZRANGE', set, 0, 0, 'WITHSCORES')
  if first[2] and (due == nil or tonumber(first[2]) < due) then due = tonumber(first[2]) end
end
if due and due <= now then return 0 end
insist()
call('HSET', K .. 'asleep', epoch, names)
return due and math.ceil((due - now) * 1000000) or -1
