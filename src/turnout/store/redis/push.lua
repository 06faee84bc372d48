-- push: jobs for another program, as its own client writes them. ARGV: now or '', a msgpack of
-- {queue, run_at or false, payload up to its `created_at`}.
--
-- The naive version calls enqueue: that would put them into our order and our index, where a Ruby
-- process does not look. They go where Sidekiq's client puts its own, and stay Ruby's from then on.

local now = clock(ARGV[1])
for _, job in ipairs(cmsgpack.unpack(ARGV[2])) do
  local queue, run_at, payload = job[1], job[2], job[3] .. now
  call('SADD', 'queues', queue)
  if run_at and tonumber(run_at) > tonumber(now) then
    call('ZADD', 'schedule', run_at, payload .. '}')
    add('scheduled', queue, 1)
  else
    call('LPUSH', 'queue:' .. queue, payload .. ',"enqueued_at":' .. now .. '}')
  end
  ring(queue, 1)
end
