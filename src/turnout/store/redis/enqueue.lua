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

-- Pushes one job, the most frequent call by far: what `push` does for a group, without its tables.
local function push_one(queue, id, rest)
  if call('HSETNX', K .. 'jobs', id, string.format('q|%.6f|0|%s', at, queue)) == 0 then return end
  local list = 'queue:' .. queue
  local payload = '{"jid":"' .. id .. '","turnout":{"run_at":' .. now .. ',"priority":0,"queue":"' .. queue
    .. '"' .. rest .. now .. ',"enqueued_at":' .. now .. '}'
  adopt(queue)
  local last_id, last_at
  local last = call('LINDEX', list, 0)
  if last then last_id, last_at = head(last) end
  if last_at and (last_at > at or (last_at == at and last_id > id)) then
    line_up(queue, id, at, 0, payload)
  else
    fill(queue)
    call('LPUSH', list, payload)
  end
  ring(queue, 1)
end

local only = #batch[2] == 0 and #batch[1] == 1 and #batch[1][1][2] == 1 and batch[1][1]
if only then
  push_one(only[1], only[2][1], only[3][1])
  return taken
end

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
  adopt(queue)
  local last = call('LINDEX', list, 0)
  local last_id, last_at
  if last then last_id, last_at = head(last) end
  if last_at and (last_at > at or (last_at == at and last_id > first)) then
    for i, payload in ipairs(payloads) do line_up(queue, hints[2 * i - 1], at, 0, payload) end
  else
    fill(queue)
    call('HSET', K .. 'jobs', unpack(hints))
    call('LPUSH', list, unpack(payloads))
  end
  ring(queue, #payloads)
end

-- What the others need, gathered: each kind is then one command for the whole batch.
local hints, ahead, claims, lasting, stale = {}, {}, {}, {}, {}
local lines, scheduled, rings, plain = {}, {}, {}, {}

local function of(groups, queue)
  local found = groups[queue]
  if not found then
    found = {}
    groups[queue] = found
  end
  return found
end

local function pair(list, first, second)
  local n = #list
  list[n + 1], list[n + 2] = first, second
end

-- Claims the job's key, if it is free; the batch itself may hold it by now.
local function claimed(job, held)
  local key = job[6]
  local claim = held[key]
  local expires = claim and string.match(claim, '^%a+|([^|]*)|')
  if expires and (expires == '' or tonumber(expires) > at) then
    taken[#taken + 1] = job[1]
    return false
  end
  expires = job[8] and string.format('%.6f', at + job[8]) or ''
  held[key] = job[7] .. '|' .. expires .. '|' .. job[1]
  pair(claims, key, held[key])
  if expires == '' then lasting[#lasting + 1] = key else pair(stale, expires, key) end
  return true
end

local function record(job)
  local id, queue, priority, run_at = job[1], job[2], job[3], job[4]
  if not run_at and priority == 0 then
    pair(of(plain, queue), id, job[5])
    return
  end
  local since = tonumber(run_at or now)
  local ready = since <= at
  local payload = payload_of(id, run_at or now, priority, queue, job[5], ready)
  rings[queue] = (rings[queue] or 0) + 1  -- for a later time, too: it may be the next to come due
  if not ready then
    pair(ahead, run_at, payload)
    pair(hints, id, string.format('schedule|%.6f', since))
    scheduled[queue] = (scheduled[queue] or 0) + 1
  elseif priority == 0 then
    line_up(queue, id, since, 0, payload)
  else
    pair(of(lines, queue), -priority, ready_member(since, id, payload))
    pair(hints, id, string.format('q|%.6f|%d|%s', since, priority, queue))
  end
end

local function push_sorted(queue, pairs_of)
  local ids, rests, sorted = {}, {}, {}
  for i = 1, #pairs_of, 2 do
    ids[#ids + 1] = pairs_of[i]
    rests[pairs_of[i]] = pairs_of[i + 1]
  end
  table.sort(ids)
  for i, id in ipairs(ids) do sorted[i] = rests[id] end
  push(queue, ids, sorted)
end

local function write()
  local function all(command, key, values)
    if #values > 0 then call(command, key, unpack(values)) end
  end
  all('HSET', K .. 'unique', claims)
  all('ZREM', K .. 'unique:stale', lasting)
  all('ZADD', K .. 'unique:stale', stale)
  all('HSET', K .. 'jobs', hints)
  all('ZADD', 'schedule', ahead)
  for queue, members in pairs(lines) do all('ZADD', K .. 'ready:' .. queue, members) end
  for queue, n in pairs(scheduled) do add('scheduled', queue, n) end
  for queue, them in pairs(plain) do push_sorted(queue, them) end
  for queue, n in pairs(rings) do
    adopt(queue)
    fill(queue)
    ring(queue, n)
  end
end

local function record_all(jobs)
  local ids, keys, held = {}, {}, {}
  for i, job in ipairs(jobs) do
    ids[i] = job[1]
    if job[6] then keys[#keys + 1] = job[6] end
  end
  local known = call('HMGET', K .. 'jobs', unpack(ids))
  local holders = #keys > 0 and call('HMGET', K .. 'unique', unpack(keys))
  for i, key in ipairs(keys) do held[key] = holders[i] end
  for i, job in ipairs(jobs) do
    if not known[i] and (not job[6] or claimed(job, held)) then record(job) end
  end
  write()
end

for _, group in ipairs(batch[1]) do push(group[1], group[2], group[3]) end
if #batch[2] > 0 then record_all(batch[2]) end
return taken
