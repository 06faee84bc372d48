-- locate: where jobs are, by id. ARGV: ids. Returns for each that was found: id, place, what it takes
-- to take it from there (two texts), the payload.
--
-- The naive version reads whole queues. `turnout:jobs` says where a job was put, and lists and sorted
-- sets of ours are in order, so a job in one of a million is found in some twenty steps.

local answer = {}
local function found(id, place, one, two, payload)
  for _, part in ipairs({id, place, one, two, payload}) do answer[#answer + 1] = part end
end

-- Returns the first index of 0..n-1 at which `is_past` holds, or n.
local function search(n, is_past)
  local low, high = 0, n
  while low < high do
    local middle = math.floor((low + high) / 2)
    if is_past(middle) then high = middle else low = middle + 1 end
  end
  return low
end

local function in_list(id, at, queue)
  local list = 'queue:' .. queue
  local index = search(call('LLEN', list), function(i)
    local other, since = head(call('LINDEX', list, i))
    return (since or 0) < at or (since == at and other <= id)
  end)
  local payload = call('LINDEX', list, index)
  if payload and head(payload) == id then return found(id, 'list', queue, '', payload) or true end
end

local function in_ready(id, at, priority, queue)
  local line = K .. 'ready:' .. queue
  local mark = string.format('%017.6f|%s|', at, id)
  local rank = search(call('ZCARD', line), function(i)
    local entry = call('ZRANGE', line, i, i, 'WITHSCORES')
    local score = tonumber(entry[2])
    return score > -priority or (score == -priority and entry[1] >= mark)
  end)
  local member = call('ZRANGE', line, rank, rank)[1]
  if member and string.sub(member, 1, #mark) == mark then
    return found(id, 'ready', queue, member, string.sub(member, #mark + 1)) or true
  end
end

local function in_set(set, id, score)
  for _, payload in ipairs(call('ZRANGEBYSCORE', set, score, score)) do
    if head(payload) == id then return found(id, set, '', '', payload) or true end
  end
end

local function in_leases(id)
  for _, among in ipairs({call('ZRANGE', K .. 'epochs', 0, -1), call('SMEMBERS', K .. 'over')}) do
    for _, epoch in ipairs(among) do
      for _, fence in ipairs(call('HKEYS', K .. 'held:' .. epoch)) do
        local payload = call('HGET', K .. 'lease:' .. epoch .. ':' .. fence, id)
        if payload then return found(id, 'lease', epoch, fence, payload) or true end
      end
    end
  end
end

-- A batch of successes is one text, and its name in the line is its largest id: the batches from that
-- id upwards are looked through, and as a rule the first or second holds it.
local function in_traces(id)
  local from = '[' .. id
  for _ = 1, 100 do
    local names = call('ZRANGEBYLEX', K .. 'trace:line', from, '+', 'LIMIT', 0, 20)
    for _, name in ipairs(names) do
      local n = string.match(name, '|(%d+)$')
      local text = call('HGET', K .. 'trace', n)
      if text and string.find(text, id, 1, true) then return found(id, 'trace', n, '', text) or true end
      from = '(' .. name
    end
    if #names < 20 then return end
  end
end

for _, id in ipairs(ARGV) do
  local hint = call('HGET', K .. 'jobs', id)
  if not hint then
    local _ = in_leases(id) or in_traces(id)  -- another's job, running here or done
  elseif hint == 'record' then
    local text = call('HGET', K .. 'record', id)
    if text then found(id, 'record', '', '', text) end
  else
    local at, priority, queue = string.match(hint, '^q|([%d.]+)|(-?%d+)|(.*)$')
    local set, score = string.match(hint, '^(%a+)|([%d.]+)$')
    local _ = (queue and tonumber(priority) == 0 and in_list(id, tonumber(at), queue))
      or (queue and in_ready(id, tonumber(at), tonumber(priority), queue))
      or (set and in_set(set, id, score))
      or in_leases(id)
      or in_traces(id)
  end
end
return answer
