-- move: take jobs from where they were seen and put them elsewhere. ARGV: now, a msgpack of moves as
-- lib.lua has them, and of ids that are asked to stop where they run.
--
-- Workers and Sidekiq take jobs meanwhile, so each move is conditional on finding the very payload
-- that was seen; a job that has moved on counts as unchanged. Returns a 1 or a 0 for each.

local now = tonumber(ARGV[1])
insist()
local answer = {}
for _, step in ipairs(cmsgpack.unpack(ARGV[2])) do
  if step[3][1] == 'ask' then
    local lease = K .. 'lease:' .. step[2][2] .. ':' .. step[2][3]
    answer[#answer + 1] = call('HEXISTS', lease, step[1]) == 1 and call('SADD', K .. 'cancel', step[1]) or 0
  else
    answer[#answer + 1] = move(step, now) and 1 or 0
  end
end
return answer
