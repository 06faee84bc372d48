-- mark: let owners hold limit keys, those of one owner (in a row) all or none; limits/marks.py says what
-- it means. ARGV: now or '', and [key, owner, ttl, most, chained, value, expect] of each, packed; an
-- `expect` of true asks nothing.
--
--   turnout:mark:KEY    a sorted set of owners by the time when their marks expire
--   turnout:marks:KEY   a hash owner -> value, of those that have one
--
-- Returns four for each: 1 or 0, the live marks, until or '', '=' and the value or ''.

local at = clock(ARGV[1])
local now = tonumber(at)
local asks = cmsgpack.unpack(ARGV[2])
local KEY, OWNER, TTL, MOST, CHAINED, VALUE, EXPECT = 1, 2, 3, 4, 5, 6, 7
insist()

local swept = {}
local function sweep(key)
  if swept[key] then return end
  swept[key] = true
  local ends, values = K .. 'mark:' .. key, K .. 'marks:' .. key
  if call('EXISTS', values) == 1 then
    for _, owner in ipairs(call('ZRANGEBYSCORE', ends, '-inf', at)) do call('HDEL', values, owner) end
  end
  call('ZREMRANGEBYSCORE', ends, '-inf', at)
end

local function exact(number) return string.format('%.17g', number) end

local function nth(ends, n)
  local found = call('ZRANGE', ends, n, n, 'WITHSCORES')
  return found[2] and tonumber(found[2])
end

local function judge(ask)
  sweep(ask[KEY])
  local ends = K .. 'mark:' .. ask[KEY]
  local live = call('ZCARD', ends)
  local own = tonumber(call('ZSCORE', ends, ask[OWNER]) or nil)
  local seen = own and call('HGET', K .. 'marks:' .. ask[KEY], ask[OWNER]) or false
  local full = ask[MOST] > 0 and live >= ask[MOST]
  local frees = full and nth(ends, live - ask[MOST]) or false
  if ask[MOST] == 0 or (ask[EXPECT] ~= true and ask[EXPECT] ~= seen) then
    return {granted = 0, live = live, till = frees, value = seen, was = live, had = seen}
  end
  if own then
    local till = ask[CHAINED] and own or now + ask[TTL]
    return {granted = 1, live = live, till = till, value = ask[VALUE], was = live, had = seen}
  end
  if full then return {granted = 0, live = live, till = frees, value = false, was = live, had = false} end
  local begin = now
  if ask[CHAINED] and live > 0 then begin = math.max(now, nth(ends, -1)) end
  return {granted = 1, live = live + 1, till = begin + ask[TTL], value = ask[VALUE], was = live, had = false}
end

local function write(ask, answer)
  local ends, values = K .. 'mark:' .. ask[KEY], K .. 'marks:' .. ask[KEY]
  call('ZADD', ends, exact(answer.till), ask[OWNER])
  if ask[VALUE] then call('HSET', values, ask[OWNER], ask[VALUE])
  else call('HDEL', values, ask[OWNER]) end
  -- By how long, not until when: a clock that a test sets may be another year's.
  local rest = math.ceil(nth(ends, -1) - now) + 60
  call('EXPIRE', ends, rest)
  call('EXPIRE', values, rest)
end

local answers = {}
local function tell(answer)
  answers[#answers + 1] = answer.granted
  answers[#answers + 1] = answer.live
  answers[#answers + 1] = answer.till and exact(answer.till) or ''
  answers[#answers + 1] = answer.value and '=' .. answer.value or ''
end

local first = 1
while first <= #asks do
  local last = first
  while asks[last + 1] and asks[last + 1][OWNER] == asks[first][OWNER] do last = last + 1 end
  local group, all = {}, true
  for i = first, last do
    group[i] = judge(asks[i])
    all = all and group[i].granted == 1
  end
  for i = first, last do
    local answer = group[i]
    if all then write(asks[i], answer)
    elseif answer.granted == 1 then
      answer = {granted = 0, live = answer.was, till = false, value = answer.had}
    end
    tell(answer)
  end
  first = last + 1
end
return answers
