-- measure: add rows to the kept metrics, once for each number of a source. ARGV: source, number, most, then
-- how many steps of time follow, packed: {step, at, seconds to keep or 0, {task, queue, body} ...}.
--
--   turnout:metric:STEP:AT   a hash: task and queue, with a NUL between, -> body, as JSON
--   turnout:metrics:STEP     a sorted set of the times of a step
--   turnout:measured:SOURCE  the number that was counted last
--
-- A body is [outcomes, [seconds, buckets], [seconds, buckets]]: numbers and objects alone, which survive
-- being decoded here.

local source, number, most = K .. 'measured:' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
insist()
if tonumber(call('GET', source) or 0) >= number then return 0 end
call('SET', source, ARGV[2], 'EX', 86400)

local function add(into, from)
  for name, n in pairs(from) do into[name] = (into[name] or 0) + n end
end

local function grown(text, by)
  if not text then return by end
  local known, more = cjson.decode(text), cjson.decode(by)
  add(known[1], more[1])
  for part = 2, 3 do
    known[part][1] = known[part][1] + more[part][1]
    add(known[part][2], more[part][2])
  end
  return cjson.encode(known)
end

for _, slot in ipairs(cmsgpack.unpack(ARGV[4])) do
  local step, at, keep = slot[1], slot[2], slot[3]
  local key = K .. 'metric:' .. step .. ':' .. at
  for n = 4, #slot do
    local field = slot[n][1] .. '\0' .. slot[n][2]
    if call('HEXISTS', key, field) == 0 and call('HLEN', key) >= most then field = '*\0*' end
    call('HSET', key, field, grown(call('HGET', key, field), slot[n][3]))
  end
  call('ZADD', K .. 'metrics:' .. step, at, at)
  if keep > 0 then call('EXPIRE', key, keep) end
end
return 1
