-- count: the numbers of queues. ARGV: now or '', and their names, a bounded number. What is due is
-- promoted first, in bounded numbers, so that it counts as ready also while no worker looks.
--
-- Returns how many were promoted, then for each queue: name, paused, ready, scheduled, running,
-- succeeded, dead, discarded, cancelled, finished within the last minute, oldest run_at or '', and
-- whether it is another program's: it has had jobs, and none of ours.

local now = tonumber(clock(ARGV[1]))
insist()
local answer = {promote(now, 250)}

local function tally(state, queue) return tonumber(call('HGET', K .. 'tally:' .. state, queue) or 0) end

local function finished_lately(queue)
  local sum = 0
  for bucket = math.floor(now / 10) - 5, math.floor(now / 10) do
    sum = sum + tonumber(call('HGET', K .. 'rate:' .. bucket, queue) or 0)
  end
  return sum
end

-- The sorted set is in order within a priority: the oldest of all is the oldest of its firsts.
local function oldest(queue)
  local first = call('LINDEX', 'queue:' .. queue, -1)
  local best = nil
  if first then
    local _, at = head(first)
    best = at
  end
  local line, score = K .. 'ready:' .. queue, '-inf'
  for _ = -100, 100 do
    local entry = call('ZRANGEBYSCORE', line, score, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if #entry == 0 then break end
    local at = ready_parts(entry[1])
    if best == nil or at < best then best = at end
    score = '(' .. entry[2]
  end
  return best and string.format('%.6f', best) or ''
end

for i = 2, #ARGV do
  local queue = ARGV[i]
  local ended = K .. 'ended:'
  for _, part in ipairs({
    queue,
    call('SISMEMBER', 'paused', queue),
    call('LLEN', 'queue:' .. queue) + call('ZCARD', K .. 'ready:' .. queue),
    tally('scheduled', queue),
    tally('running', queue),
    tally('succeeded', queue) + call('ZCARD', ended .. 'succeeded:' .. queue),
    tally('dead', queue),
    call('ZCARD', ended .. 'discarded:' .. queue),
    call('ZCARD', ended .. 'cancelled:' .. queue),
    finished_lately(queue),
    oldest(queue),
    is_own(queue) and 0 or call('SISMEMBER', 'queues', queue),
  }) do
    answer[#answer + 1] = part
  end
end
return answer
