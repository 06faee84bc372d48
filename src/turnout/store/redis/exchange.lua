-- exchange: settle a batch and lease the next. ARGV: epoch, now or '', a msgpack of what is settled
-- or '', the fence of the new lease or '', the limit, then queue and room by turns.
--
--   {plain, traces, forgotten, counts, moves, processed, failed, day}
--   plain      {fence, {id, ...}} of plain successes
--   traces     {queue, keep_until, count, first id, last id, text, keep}
--   forgotten  ids of which no record is to be kept
--   counts     {queue, successes, of these kept in traces}
--   moves      see lib.lua
--
-- Everything is looked at before anything is changed. Where an outcome is not what its client took
-- it for, nothing happens and the answer says why, job by job: 'missing' (not leased here any more),
-- 'told' (has progress, or was asked to stop: no plain success), 'cancelled' (asked to stop, but
-- would be put back). The client sorts the batch anew and asks again. Doing what can be done and
-- reporting the rest would need the traces, which are one text a batch, to be cut up here.
--
-- The fence is the client's. If its last reply was lost it asks for the same fence again, finds
-- that lease and gets it once more, in place of a second one that would leave the first unrun.

local epoch, at, most = ARGV[1], clock(ARGV[2]), tonumber(ARGV[5])
local now = tonumber(at)
if not call('ZSCORE', K .. 'epochs', epoch) then return {'lost'} end

local function lease_key(fence) return K .. 'lease:' .. epoch .. ':' .. fence end

-- Returns which of the ids a lease holds. HMGET would bring all payloads along: twice the time.
local function held_of(lease, ids)
  local held = {}
  if call('HLEN', lease) > 4 * #ids then
    for _, id in ipairs(ids) do held[id] = call('HEXISTS', lease, id) == 1 or nil end
  else
    for _, id in ipairs(call('HKEYS', lease)) do held[id] = true end
  end
  return held
end

local function remarks_on(batch)
  local found = {'again'}
  local function remark(id, why)
    found[#found + 1] = id
    found[#found + 1] = why
  end
  local progress = call('EXISTS', K .. 'progress') == 1
  local cancel = call('EXISTS', K .. 'cancel') == 1
  for _, group in ipairs(batch[1]) do
    local ids = group[2]
    local held = held_of(lease_key(group[1]), ids)
    local told = progress and call('HMGET', K .. 'progress', unpack(ids))
    local asked = cancel and call('SMISMEMBER', K .. 'cancel', unpack(ids))
    for i, id in ipairs(ids) do
      if not held[id] then remark(id, 'missing')
      elseif (told and told[i]) or (asked and asked[i] == 1) then remark(id, 'told') end
    end
  end
  for _, step in ipairs(batch[5]) do
    local id, from, to = step[1], step[2], step[3]
    if call('HEXISTS', lease_key(from[3]), id) == 0 then remark(id, 'missing')
    elseif cancel and to[1] == 'back' and call('SISMEMBER', K .. 'cancel', id) == 1 then
      remark(id, 'cancelled')
    end
  end
  return found
end

local function settle(batch)
  for _, group in ipairs(batch[1]) do
    local lease = lease_key(group[1])
    call('HDEL', lease, unpack(group[2]))
    if call('EXISTS', lease) == 0 then call('HDEL', K .. 'held:' .. epoch, group[1]) end
  end
  for _, count in ipairs(batch[4]) do
    add('running', count[1], -count[2])
    note_finished(count[1], count[2], now)
    if count[3] > 0 then add('succeeded', count[1], count[3]) end
  end
  local name = #batch[2] > 0 and worker_of(epoch)
  for _, trace in ipairs(batch[2]) do
    local n = call('INCR', K .. 'serial')
    call('HSET', K .. 'trace', n, cmsgpack.pack({trace[1], name, trace[4], trace[5], trace[3], trace[7], trace[6]}))
    call('ZADD', K .. 'trace:line', 0, trace[5] .. '|' .. n)
    call('ZADD', K .. 'trace:fade:' .. trace[1], string.format('%.6f', trace[2]), n)
  end
  if #batch[3] > 0 then call('HDEL', K .. 'jobs', unpack(batch[3])) end
  for _, step in ipairs(batch[5]) do move(step, now) end
  local names = {processed = batch[6], failed = batch[7]}
  for what, n in pairs(names) do
    if n > 0 then
      call('INCRBY', 'stat:' .. what, n)
      call('INCRBY', 'stat:' .. what .. ':' .. batch[8], n)
      call('EXPIRE', 'stat:' .. what .. ':' .. batch[8], 157680000)
    end
  end
end

-- Takes up to `room` ready payloads of a queue, in order. Where only the list holds any, and that is
-- the rule, it is one command; otherwise both are read as far as needed and merged.
local function draw(queue, room)
  local list, line = 'queue:' .. queue, K .. 'ready:' .. queue
  if call('EXISTS', line) == 0 then return call('RPOP', list, room) or {} end
  local apart = call('ZRANGE', line, 0, room - 1, 'WITHSCORES')
  local row = call('LRANGE', list, -room, -1)
  local taken, i, j = {}, 1, #row
  while #taken < room and (i < #apart or j > 0) do
    local first = i >= #apart
    if not first and j > 0 then
      local rank = tonumber(apart[i + 1])
      local id, since = head(row[j])
      local apart_at, apart_id = ready_parts(apart[i])
      since = since or 0
      first = rank > 0 or (rank == 0 and (since < apart_at or (since == apart_at and id < apart_id)))
    end
    if first then
      taken[#taken + 1], j = row[j], j - 1
    else
      local _, _, payload = ready_parts(apart[i])
      taken[#taken + 1], i = payload, i + 2
    end
  end
  if i > 1 then call('ZREMRANGEBYRANK', line, 0, (i - 1) / 2 - 1) end
  if j < #row then call('RPOP', list, #row - j) end
  return taken
end

-- A key held until the start is free from here on.
local function free_at_start(id, payload)
  if not string.find(payload, '"unique":[', 1, true) then return end
  local ok, job = pcall(cjson.decode, payload)
  local unique = ok and type(job.turnout) == 'table' and job.turnout.unique
  if unique and unique[2] == 'start' then free(unique[1], id) end
end

local function hold(fence, queue, payloads, answer)
  local fields, held = {}, 0
  local keys = call('EXISTS', K .. 'unique') == 1
  for _, payload in ipairs(payloads) do
    local id = id_of(payload)
    if id then
      held = held + 1
      fields[2 * held - 1], fields[2 * held] = id, payload
      answer[#answer + 1] = payload
      if keys then free_at_start(id, payload) end
    else
      call('ZADD', 'dead', now, payload)  -- what nobody can read, Sidekiq keeps there too
    end
  end
  if held > 0 then
    call('HSET', lease_key(fence), unpack(fields))
    call('HSET', K .. 'held:' .. epoch, fence, at)
    add('running', queue, held)
  end
end

-- A queue is ours once we have enqueued to it; every other one is Ruby's, and only its plain name
-- takes from it: '*' and '?name', a name that nobody wrote down, stand for ours alone.
local function wanted()
  local queues, named = {}, {}
  for i = 6, #ARGV, 2 do named[string.gsub(ARGV[i], '^%?', '')] = true end
  for i = 6, #ARGV, 2 do
    local name, room = ARGV[i], tonumber(ARGV[i + 1])
    if name == '*' then
      local all = call('SMEMBERS', K .. 'queues')
      table.sort(all)
      for _, queue in ipairs(all) do
        if not named[queue] then queues[#queues + 1] = {queue, room} end
      end
    elseif string.sub(name, 1, 1) ~= '?' then
      queues[#queues + 1] = {name, room}
    elseif is_own(string.sub(name, 2)) then
      queues[#queues + 1] = {string.sub(name, 2), room}
    end
  end
  return queues
end

local function lease(fence)
  if call('HEXISTS', K .. 'held:' .. epoch, fence) == 1 then return call('HVALS', lease_key(fence)) end
  promote(now, 250)
  local answer = {}
  for _, each in ipairs(wanted()) do
    local room = math.min(each[2], most - #answer)
    if room > 0 and not is_paused(each[1]) then
      local payloads = draw(each[1], room)
      if #payloads > 0 then hold(fence, each[1], payloads, answer) end
    end
  end
  return answer
end

insist()
if ARGV[3] ~= '' then
  local batch = cmsgpack.unpack(ARGV[3])
  local remarks = remarks_on(batch)
  if #remarks > 1 then return remarks end
  settle(batch)
end
return {'done', ARGV[4] == '' and {} or lease(ARGV[4])}
