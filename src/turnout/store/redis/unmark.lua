-- unmark: drop marks. ARGV: [key, owner] of each, packed. Returns how many there were.

insist()
local gone = 0
for _, pair in ipairs(cmsgpack.unpack(ARGV[1])) do
  gone = gone + call('ZREM', K .. 'mark:' .. pair[1], pair[2])
  call('HDEL', K .. 'marks:' .. pair[1], pair[2])
end
return gone
