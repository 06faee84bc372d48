-- sweep: drop unique keys whose time is over. ARGV: now or '', at most how many.

local now = clock(ARGV[1])
insist()
local keys = call('ZRANGEBYSCORE', K .. 'unique:stale', '-inf', '(' .. now, 'LIMIT', 0, tonumber(ARGV[2]))
for _, key in ipairs(keys) do
  call('HDEL', K .. 'unique', key)
  call('ZREM', K .. 'unique:stale', key)
end
return #keys
