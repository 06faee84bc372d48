-- retrace: rewrite one batch of successes without some of them. ARGV: n, the text that was seen, the
-- text to put in its place or '', its new time to fade, then queue, how many went, and their ids.
-- Returns how many went: none when somebody else has rewritten it meanwhile.

local n, queue = ARGV[1], ARGV[5]
if call('HGET', K .. 'trace', n) ~= ARGV[2] then return 0 end
insist()
if ARGV[3] == '' then
  local last = cmsgpack.unpack(ARGV[2])
  call('HDEL', K .. 'trace', n)
  call('ZREM', K .. 'trace:line', last[4] .. '|' .. n)
  call('ZREM', K .. 'trace:fade:' .. queue, n)
else
  call('HSET', K .. 'trace', n, ARGV[3])
  call('ZADD', K .. 'trace:fade:' .. queue, ARGV[4], n)
end
call('HDEL', K .. 'jobs', unpack(ARGV, 7))
add('succeeded', queue, -tonumber(ARGV[6]))
return tonumber(ARGV[6])
