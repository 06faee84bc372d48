-- What the verbs share: where a job may stand, and how it is taken from one place and put in another.
--
-- A job stands in exactly one of these places:
--
--   queue:NAME             a list of payloads, pushed on the left, taken on the right; Sidekiq's
--   turnout:ready:NAME     a sorted set of what a list cannot hold in order; score: minus priority,
--                          member: run_at as 17 characters | id | payload
--   schedule, retry        sorted sets by run_at; Sidekiq's
--   turnout:lease:E:FENCE  a hash id -> payload: what epoch E leased in one exchange
--   dead                   a sorted set by the time of death; Sidekiq's
--   turnout:record         a hash id -> payload, of all that ended otherwise with something to tell
--   turnout:trace          a hash n -> many plain successes in one text
--
-- `turnout:jobs` remembers for every id of ours where to look for it (a hint, checked when used);
-- without it a repeated enqueue could not be told from a new one.
--
-- Invariant: a list of ours is ordered by (run_at, id). A job that would break the order at both
-- ends goes to the sorted set beside it, and leasing merges the two; so Sidekiq's lists keep the
-- exact order that the protocol promises. A payload is text and stays text: decoding and encoding
-- it here would turn [] into {} and round large numbers.

local call = redis.call
local K = 'turnout:'

-- A time without the zeros at its end, as every JSON library writes it again: Sidekiq knows a job in a
-- sorted set by its text, and what it dumps must be what it has read.
local function shortest(text)
  local short = text:gsub('0+$', '')
  return short:sub(-1) == '.' and short .. '0' or short
end

local function clock(text)
  if text ~= '' then return text end
  local time = call('TIME')
  return shortest(string.format('%d.%06d', time[1], time[2]))
end

-- A server whose memory is full refuses what may grow until a script has written something. What ends
-- or moves jobs must go on then, so it writes first: nothing, by a command that is never refused.
local function insist() call('DEL', K .. 'nothing') end

-- Returns id, run_at, priority and queue of a payload; id and queue alone where another wrote it.
local HEAD = '^{"jid":"([^"\\]+)","turnout":{"run_at":([%d.eE+-]+),"priority":(-?%d+),"queue":"([^"\\]+)"'
local function head(payload)
  local id, at, priority, queue = string.match(payload, HEAD)
  if id then return id, tonumber(at), tonumber(priority), queue end
  local ok, job = pcall(cjson.decode, payload)
  if not ok or type(job) ~= 'table' or type(job.jid) ~= 'string' then return nil end
  local own = job.turnout
  if type(own) == 'table' and type(own.run_at) == 'number' then
    return job.jid, own.run_at, own.priority or 0, own.queue or job.queue
  end
  return job.jid, nil, nil, job.queue or 'default'
end

-- An id of ours has 36 characters and stands in front: cut out, that costs a third of a pattern.
local function id_of(payload)
  if string.sub(payload, 1, 8) == '{"jid":"' and string.sub(payload, 45, 45) == '"' then
    return string.sub(payload, 9, 44)
  end
  return (head(payload))
end

local function add(state, queue, n) call('HINCRBY', K .. 'tally:' .. state, queue, n) end

local function note_finished(queue, n, now)
  local key = K .. 'rate:' .. math.floor(now / 10)
  call('HINCRBY', key, queue, n)
  call('EXPIRE', key, 180)
end

-- ---- unique keys: turnout:unique is a hash key -> until|expires_at|id

local function is_held(key, now)
  local claim = call('HGET', K .. 'unique', key)
  if not claim then return false end
  local expires = string.match(claim, '^%a+|([^|]*)|')
  return expires == '' or tonumber(expires) > now
end

local function claim(key, id, till, expires)
  call('HSET', K .. 'unique', key, till .. '|' .. expires .. '|' .. id)
  if expires == '' then call('ZREM', K .. 'unique:stale', key)
  else call('ZADD', K .. 'unique:stale', expires, key) end
end

local function free(key, id)
  local value = call('HGET', K .. 'unique', key)
  if not value then return end
  local till, _, holder = string.match(value, '^(%a+)|([^|]*)|(.*)$')
  if holder == id and till ~= 'time' then
    call('HDEL', K .. 'unique', key)
    call('ZREM', K .. 'unique:stale', key)
  end
end

-- ---- queues: `mail~acme` is a lane of the queue `mail`, and paused with it
--
--   queues               all that jobs were ever put into; Sidekiq's
--   turnout:queues       those of ours that are no lanes
--   turnout:lanes        our lanes
--   turnout:lanes:ready  those that may hold something to lease: there may be thousands of others

local function is_lane(queue) return string.find(queue, '~', 1, true) ~= nil end
local function base_of(queue) return (string.gsub(queue, '~.*', '')) end
local function is_paused(queue)
  return call('SISMEMBER', 'paused', queue) == 1
    or is_lane(queue) and call('SISMEMBER', 'paused', base_of(queue)) == 1
end

local function adopt(queue) call('SADD', K .. (is_lane(queue) and 'lanes' or 'queues'), queue) end
local function is_own(queue)
  return call('SISMEMBER', K .. (is_lane(queue) and 'lanes' or 'queues'), queue) == 1
end

local function fill(queue)
  call('SADD', 'queues', queue)
  if is_lane(queue) then call('SADD', K .. 'lanes:ready', queue) end
end

local function is_ready(queue)
  return call('EXISTS', 'queue:' .. queue) == 1 or call('EXISTS', K .. 'ready:' .. queue) == 1
end

-- ---- ready jobs

local function ready_member(at, id, payload) return string.format('%017.6f|%s|%s', at, id, payload) end

local function ready_parts(member)
  local bar = string.find(member, '|', 19, true)
  return tonumber(string.sub(member, 1, 17)), string.sub(member, 19, bar - 1), string.sub(member, bar + 1)
end

-- Gives a ready job its place: an end of the list where that keeps the order, else the sorted set.
-- A job without a run_at of ours is another's: it goes to the list's end, as its own client does it.
local function line_up(queue, id, at, priority, payload)
  local list = 'queue:' .. queue
  fill(queue)
  if at == nil then
    call('HDEL', K .. 'jobs', id)
    call('LPUSH', list, payload)
    return
  end
  call('HSET', K .. 'jobs', id, string.format('q|%.6f|%d|%s', at, priority, queue))
  if priority == 0 then
    local last = call('LINDEX', list, 0)
    if not last then call('LPUSH', list, payload) return end
    local last_id, last_at = head(last)
    if last_at == nil or last_at < at or (last_at == at and last_id <= id) then
      call('LPUSH', list, payload)
      return
    end
    local first_id, first_at = head(call('LINDEX', list, -1))
    if first_at and (first_at > at or (first_at == at and first_id >= id)) then
      call('RPUSH', list, payload)
      return
    end
  end
  call('ZADD', K .. 'ready:' .. queue, -priority, ready_member(at, id, payload))
end

-- Returns a payload that says when it came to its queue: Sidekiq's pages tell the latency by that.
-- Where such a member is there already it is replaced if it can be told from one in the arguments.
local function arrived(payload, now)
  local stamp = '"enqueued_at":' .. shortest(string.format('%.6f', now))
  local first = string.find(payload, '"enqueued_at":', 1, true)
  local ok, job = pcall(cjson.decode, first and payload or '{}')
  if not ok or string.sub(payload, -1) ~= '}' then return payload end
  if job.enqueued_at == nil then return string.sub(payload, 1, -2) .. ',' .. stamp .. '}' end
  local changed, n = string.gsub(payload, '"enqueued_at":[%d.]+', stamp)
  return n == 1 and changed or payload
end

-- Moves what is due to its queue: at most `most` of each set. Between ZREM and the place there is no
-- moment at which a crash could lose it: a script is one entry of the append-only file.
local function promote(now, most)
  local moved = 0
  for _, set in ipairs({'schedule', 'retry'}) do
    for _, payload in ipairs(call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, most)) do
      call('ZREM', set, payload)
      local id, at, priority, queue = head(payload)
      if id then
        add('scheduled', queue, -1)
        line_up(queue, id, at, priority, arrived(payload, now))
      else
        call('ZADD', 'dead', now, payload)
      end
      moved = moved + 1
    end
  end
  return moved
end

-- ---- who sleeps: turnout:asleep is a hash epoch -> its queues, each with a comma on both sides

local function ring(queue, most)
  if most < 1 or call('EXISTS', K .. 'asleep') == 0 then return end
  local sleepers = call('HGETALL', K .. 'asleep')
  for i = 1, #sleepers, 2 do
    local queues = sleepers[i + 1]
    if queue == nil or string.find(queues, ',*,', 1, true) or string.find(queues, ',' .. queue .. ',', 1, true)
      or string.find(queues, ',' .. base_of(queue) .. ',', 1, true) then
      call('HDEL', K .. 'asleep', sleepers[i])
      call('PUBLISH', K .. 'bell:' .. sleepers[i], '1')
      most = most - 1
      if most == 0 then return end
    end
  end
end

-- ---- taking a job from where it was seen; false when it has moved on since

local takers = {}

function takers.lease(id, from)
  local epoch, fence, queue = from[2], from[3], from[4]
  local lease = K .. 'lease:' .. epoch .. ':' .. fence
  if call('HDEL', lease, id) == 0 then return false end
  if call('EXISTS', lease) == 0 then call('HDEL', K .. 'held:' .. epoch, fence) end
  add('running', queue, -1)
  return true
end

function takers.list(_, from) return call('LREM', 'queue:' .. from[2], 1, from[3]) > 0 end
function takers.ready(_, from) return call('ZREM', K .. 'ready:' .. from[2], from[3]) > 0 end

function takers.ahead(_, from)
  if call('ZREM', from[2], from[4]) == 0 then return false end
  add('scheduled', from[3], -1)
  return true
end

function takers.dead(_, from)
  if call('ZREM', 'dead', from[3]) == 0 then return false end
  add('dead', from[2], -1)
  return true
end

function takers.record(id, from)
  local state, queue = from[2], from[3]
  if call('HDEL', K .. 'record', id) == 0 then return false end
  call('ZREM', K .. 'ended:' .. state .. ':' .. queue, id)
  if state == 'succeeded' then call('ZREM', K .. 'fading', id .. '|' .. queue) end
  return true
end

-- ---- putting it where it goes next

local putters = {}

function putters.back(id, to, now)
  local queue, priority, at, payload, set = to[2], to[3], to[4], to[5], to[6]
  call('SREM', K .. 'cancel', id)
  if at > now then
    call('SADD', 'queues', queue)
    call('ZADD', set, string.format('%.6f', at), payload)
    call('HSET', K .. 'jobs', id, string.format('%s|%.6f', set, at))
    add('scheduled', queue, 1)
  elseif priority then
    line_up(queue, id, at, priority, payload)
    ring(queue, 1)
  else
    fill(queue)
    call('HDEL', K .. 'jobs', id)
    call(to[7] and 'RPUSH' or 'LPUSH', 'queue:' .. queue, payload)
    ring(queue, 1)
  end
end

-- Sent back by a person: what was told of the earlier run goes.
function putters.revive(id, to, now)
  call('HDEL', K .. 'progress', id)
  return putters.back(id, to, now)
end

function putters.gone(id, to)
  if to[2] then free(to[2], id) end
  call('HDEL', K .. 'jobs', id)
  call('HDEL', K .. 'progress', id)
  call('SREM', K .. 'cancel', id)
end

putters['end'] = function(id, to, now)
  local state, queue, finished, text, keep, key = to[2], to[3], to[4], to[5], to[6], to[7]
  note_finished(queue, 1, now)
  if text == '' then return putters.gone(id, {'gone', key}) end
  if key then free(key, id) end
  call('SREM', K .. 'cancel', id)
  local score = string.format('%.6f', finished)
  if state == 'dead' then
    call('ZADD', 'dead', score, text)
    call('HSET', K .. 'jobs', id, 'dead|' .. score)
    add('dead', queue, 1)
    return
  end
  call('HSET', K .. 'record', id, text)
  call('HSET', K .. 'jobs', id, 'record')
  call('ZADD', K .. 'ended:' .. state .. ':' .. queue, score, id)
  call('SADD', K .. 'places', state .. ':' .. queue)
  if state == 'succeeded' then call('ZADD', K .. 'fading', string.format('%.6f', keep), id .. '|' .. queue) end
end

-- One move: {id, from, to, key}. With a key to claim it happens only while nobody else holds that.
local function move(step, now)
  local id, from, to, key = step[1], step[2], step[3], step[4]
  if key and is_held(key, now) then return false end
  if not takers[from[1]](id, from) then return false end
  if key then claim(key, id, 'finish', '') end
  putters[to[1]](id, to, now)
  return true
end

local function worker_of(epoch) return call('HGET', K .. 'epoch:' .. epoch, 'name') or '' end
