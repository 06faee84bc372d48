-- Every statement of the SQLite adapter, by verb. Bound by position.

-- ---------------------------------------------------------------- enqueue

-- name: newest_known
-- The largest id anywhere, from the ends of three trees. New ids are larger than all: one look a
-- batch, and nothing else to ask.
SELECT max(coalesce((SELECT max(id) FROM turnout_job), ''),
           coalesce((SELECT max(id) FROM turnout_final), ''),
           coalesce((SELECT max(last_id) FROM turnout_trace), ''));

-- name: known
-- Which of these ids exist already: a repeated enqueue must not make a double.
SELECT id FROM turnout_job WHERE id IN (SELECT value FROM json_each(?))
UNION ALL
SELECT id FROM turnout_final WHERE id IN (SELECT value FROM json_each(?));

-- name: traced_between
-- Batches of plain successes that may hold an id of this range. New ids are larger than finished
-- ones, so that this finds nothing at its first step.
SELECT n, body FROM turnout_trace WHERE last_id >= ? AND first_id <= ?;

-- name: insert_job
INSERT INTO turnout_job (id, task, queue, args, priority, enqueued_at, run_at, expires_at, context,
    unique_key, unique_until)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_alike
-- Jobs that differ in id and arguments alone, as one JSON object {id: arguments}. A statement a row
-- took 3.2 us a job where this takes 1.5.
INSERT INTO turnout_job (id, enqueued_at, task, queue, priority, run_at, expires_at, context, args)
SELECT key, ?1, ?2, ?3, ?4, ?5, ?6, ?7, value FROM json_each(?8);

-- name: insert_alike_ready
INSERT INTO turnout_ready (queue, rank, run_at, id) SELECT ?, ?, ?, value FROM json_each(?);

-- name: insert_alike_scheduled
INSERT INTO turnout_scheduled (run_at, queue, rank, id) SELECT ?, ?, ?, value FROM json_each(?);

-- name: insert_ready
INSERT INTO turnout_ready (queue, rank, run_at, id) VALUES (?, ?, ?, ?);

-- name: insert_scheduled
INSERT INTO turnout_scheduled (run_at, id, queue, rank) VALUES (?, ?, ?, ?);

-- name: unique_holder
SELECT id, expires_at FROM turnout_unique WHERE key = ?;

-- name: claim_unique
INSERT INTO turnout_unique (key, id, until, expires_at) VALUES (?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE
SET id = excluded.id, until = excluded.until, expires_at = excluded.expires_at;

-- name: free_unique
DELETE FROM turnout_unique WHERE key = ? AND id = ? AND until <> 'time';

-- name: add_tally
INSERT INTO turnout_tally (queue, what, n) VALUES (?, ?, ?)
ON CONFLICT (queue, what) DO UPDATE SET n = n + excluded.n;

-- name: bells
SELECT bell FROM turnout_worker WHERE ended = 0 AND bell IS NOT NULL LIMIT 64;

-- ---------------------------------------------------------------- exchange

-- name: epoch_open
SELECT 1 FROM turnout_worker WHERE epoch = ? AND ended = 0;

-- name: lease_ids
SELECT ids FROM turnout_lease WHERE fence = ? AND epoch = ?;

-- name: shrink_lease
UPDATE turnout_lease SET ids = ? WHERE fence = ?;

-- name: drop_lease
DELETE FROM turnout_lease WHERE fence = ?;

-- name: any_progress
SELECT 1 FROM turnout_progress LIMIT 1;

-- name: progress_of
SELECT id, body FROM turnout_progress WHERE id IN (SELECT value FROM json_each(?));

-- name: any_cancel
SELECT 1 FROM turnout_cancel LIMIT 1;

-- name: cancels_of
SELECT id FROM turnout_cancel WHERE id IN (SELECT value FROM json_each(?));

-- name: drop_jobs
DELETE FROM turnout_job WHERE id IN (SELECT value FROM json_each(?));

-- name: drop_progress
DELETE FROM turnout_progress WHERE id = ?;

-- name: drop_cancel
DELETE FROM turnout_cancel WHERE id = ?;

-- name: drop_job
DELETE FROM turnout_job WHERE id = ?;

-- name: insert_trace
INSERT INTO turnout_trace (queue, worker, keep, keep_until, total, first_id, last_id, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: worker_name
SELECT json_extract(info, '$.name') FROM turnout_worker WHERE epoch = ?;

-- name: worker_about
SELECT json_extract(info, '$.name'), info FROM turnout_worker WHERE epoch = ?;

-- name: add_rate
INSERT INTO turnout_rate (bucket, queue, n) VALUES (?, ?, ?)
ON CONFLICT (bucket, queue) DO UPDATE SET n = n + excluded.n;

-- name: finish_job
-- The job's own columns move unread from one tree to the other.
INSERT INTO turnout_final (id, task, queue, args, priority, attempt, crashes, enqueued_at, run_at,
    expires_at, context, trail, unique_key, unique_until, state, started_at, finished_at, keep_until,
    worker, error, reason, result, progress)
SELECT id, task, queue, args, priority, ?, crashes, enqueued_at, run_at, expires_at, context,
    coalesce(?, trail), unique_key, unique_until, ?, ?, ?, ?, ?, ?, ?, ?,
    (SELECT body FROM turnout_progress WHERE id = ?)
FROM turnout_job WHERE id = ?;

-- name: requeue_job
UPDATE turnout_job SET attempt = ?, trail = coalesce(?, trail), run_at = coalesce(?, run_at)
WHERE id = ?;

-- name: due
SELECT run_at, id, queue, rank FROM turnout_scheduled WHERE run_at <= ? ORDER BY run_at, id LIMIT 1000;

-- name: drop_due
DELETE FROM turnout_scheduled WHERE (run_at, id) <= (?, ?);

-- name: paused
SELECT queue FROM turnout_queue WHERE paused = 1;

-- name: unpaused
-- In one statement: a busy worker asks often, and each call waits for the threads that run jobs.
SELECT t.queue, t.n FROM turnout_tally t WHERE t.what = 'ready' AND t.n > 0 AND NOT EXISTS (
    SELECT 1 FROM turnout_queue q WHERE q.paused = 1
        AND (q.queue = t.queue OR q.queue = substr(t.queue, 1, instr(t.queue, '~') - 1)));

-- name: ready_queues
SELECT queue, n FROM turnout_tally WHERE what = 'ready';

-- name: head
SELECT rank, run_at, id FROM turnout_ready WHERE queue = ? ORDER BY rank, run_at, id LIMIT ?;

-- name: drop_head
-- What `head` returned is a prefix of the tree, so one range takes it out. Naming each row costs
-- three times as much.
DELETE FROM turnout_ready WHERE queue = ? AND (rank, run_at, id) <= (?, ?, ?);

-- name: insert_lease
INSERT INTO turnout_lease (epoch, leased_at, ids) VALUES (?, ?, ?);

-- name: any_unique_start
SELECT 1 FROM turnout_unique WHERE until = 'start' LIMIT 1;

-- name: free_unique_start
DELETE FROM turnout_unique WHERE until = 'start' AND id IN (SELECT value FROM json_each(?));

-- name: leased_jobs
-- Read after COMMIT: payloads need not be under the write lock. CROSS JOIN keeps the array's order.
SELECT t.id, task, queue, args, priority, attempt, crashes, enqueued_at, run_at, expires_at, context,
    trail, CASE unique_until WHEN 'finish' THEN unique_key END, ?
FROM json_each(?) AS j CROSS JOIN turnout_job AS t ON t.id = j.value;

-- name: next_due
SELECT run_at FROM turnout_scheduled ORDER BY run_at LIMIT 1;

-- ---------------------------------------------------------------- note, heartbeat, reap

-- name: put_progress
INSERT INTO turnout_progress (id, body) VALUES (?, ?)
ON CONFLICT (id) DO UPDATE SET body = excluded.body;

-- name: worker_row
SELECT ended, info FROM turnout_worker WHERE epoch = ?;

-- name: put_order
UPDATE turnout_worker SET info = ? WHERE epoch = ?;

-- name: put_worker
INSERT INTO turnout_worker (epoch, deadline, ended, bell, info) VALUES (?, ?, 0, ?, ?)
ON CONFLICT (epoch) DO UPDATE SET deadline = excluded.deadline, bell = excluded.bell, info = excluded.info;

-- name: end_worker
INSERT INTO turnout_worker (epoch, deadline, ended, bell, info) VALUES (?, ?, 1, NULL, '{}')
ON CONFLICT (epoch) DO UPDATE SET ended = 1, bell = NULL;

-- name: forget_workers
DELETE FROM turnout_worker WHERE ended = 1 AND deadline < ?
AND epoch NOT IN (SELECT epoch FROM turnout_lease);

-- name: leases_of
SELECT fence, leased_at, ids FROM turnout_lease WHERE epoch = ? ORDER BY fence;

-- name: past_deadline
SELECT epoch FROM turnout_worker WHERE ended = 0 AND deadline < ?;

-- name: ended_with_leases
SELECT DISTINCT l.epoch FROM turnout_lease l
LEFT JOIN turnout_worker w ON w.epoch = l.epoch
WHERE coalesce(w.ended, 1) = 1;

-- name: open_workers
SELECT info, deadline, bell FROM turnout_worker WHERE ended = 0;

-- name: job_row
SELECT id, task, queue, args, priority, attempt, crashes, enqueued_at, run_at, expires_at, context,
    trail, unique_key, unique_until
FROM turnout_job WHERE id = ?;

-- name: crash_job
UPDATE turnout_job SET crashes = ?, trail = ? WHERE id = ?;

-- ---------------------------------------------------------------- find

-- name: all_leases
SELECT l.fence, l.epoch, l.leased_at, l.ids, w.info FROM turnout_lease l
LEFT JOIN turnout_worker w ON w.epoch = l.epoch;

-- name: final_row
SELECT unique_key, unique_until, trail FROM turnout_final WHERE id = ?;

-- name: progress_row
SELECT body FROM turnout_progress WHERE id = ?;

-- name: cancel_row
SELECT 1 FROM turnout_cancel WHERE id = ?;

-- ---------------------------------------------------------------- count

-- name: tallies
SELECT queue, what, n FROM turnout_tally;

-- name: queues
SELECT queue, paused FROM turnout_queue;

-- name: rates
SELECT queue, sum(n) FROM turnout_rate WHERE bucket > ? GROUP BY queue;

-- name: due_by_queue
SELECT queue, count(*), min(run_at) FROM
    (SELECT queue, run_at FROM turnout_scheduled WHERE run_at <= ? ORDER BY run_at LIMIT ?)
GROUP BY queue;

-- name: oldest_ready
-- The head of each priority level: one step into the tree a level, at most 201 levels.
WITH RECURSIVE level (rank, run_at) AS (
    SELECT * FROM (SELECT rank, run_at FROM turnout_ready WHERE queue = ? ORDER BY rank, run_at LIMIT 1)
    UNION ALL
    SELECT (SELECT r.rank FROM turnout_ready r WHERE r.queue = ? AND r.rank > level.rank
            ORDER BY r.rank, r.run_at LIMIT 1),
           (SELECT r.run_at FROM turnout_ready r WHERE r.queue = ? AND r.rank > level.rank
            ORDER BY r.rank, r.run_at LIMIT 1)
    FROM level WHERE level.rank IS NOT NULL
)
SELECT min(run_at) FROM level;

-- ---------------------------------------------------------------- change, pause, prune

-- name: drop_ready
DELETE FROM turnout_ready WHERE queue = ? AND rank = ? AND run_at = ? AND id = ?;

-- name: drop_scheduled
DELETE FROM turnout_scheduled WHERE run_at = ? AND id = ?;

-- name: put_cancel
INSERT INTO turnout_cancel (id) VALUES (?) ON CONFLICT DO NOTHING;

-- name: hasten
UPDATE turnout_job SET run_at = ? WHERE id = ?;

-- name: revive
INSERT INTO turnout_job (id, task, queue, args, priority, attempt, crashes, enqueued_at, run_at,
    expires_at, context, trail, unique_key, unique_until)
SELECT id, task, queue, args, priority, 0, 0, enqueued_at, ?, expires_at, context, ?,
    unique_key, unique_until
FROM turnout_final WHERE id = ?;

-- name: drop_final
DELETE FROM turnout_final WHERE id = ?;

-- name: trace_row
SELECT n, queue, worker, keep, keep_until, total, first_id, last_id, body FROM turnout_trace WHERE n = ?;

-- name: update_trace
UPDATE turnout_trace SET keep_until = ?, total = ?, first_id = ?, last_id = ?, body = ? WHERE n = ?;

-- name: drop_trace
DELETE FROM turnout_trace WHERE n = ?;

-- name: put_queue
INSERT INTO turnout_queue (queue, paused) VALUES (?, ?)
ON CONFLICT (queue) DO UPDATE SET paused = excluded.paused;

-- name: overdue_traces
SELECT n FROM turnout_trace WHERE keep_until < ? ORDER BY keep_until LIMIT ?;

-- name: overdue_successes
SELECT id, queue FROM turnout_final WHERE state = 'succeeded' AND keep_until < ? LIMIT ?;

-- name: overdue_ended
SELECT id, queue FROM turnout_final WHERE queue = ? AND state = ? AND finished_at < ?
ORDER BY finished_at LIMIT ?;

-- name: oldest_ended
SELECT id, queue FROM turnout_final WHERE queue = ? AND state = ? ORDER BY finished_at, id LIMIT ?;

-- name: oldest_traces
SELECT n, total FROM turnout_trace WHERE queue = ? ORDER BY n LIMIT 200;

-- name: prune_unique
DELETE FROM turnout_unique WHERE key IN (SELECT key FROM turnout_unique WHERE expires_at < ? LIMIT ?);

-- name: prune_rate
DELETE FROM turnout_rate WHERE bucket < ?;

-- ---------------------------------------------------------------- marks

-- name: mark_expire
DELETE FROM turnout_mark WHERE key = ? AND until <= ?;

-- name: mark_totals
SELECT count(*), max(until) FROM turnout_mark WHERE key = ?;

-- name: mark_held
SELECT until, value FROM turnout_mark WHERE key = ? AND owner = ?;

-- name: mark_first
SELECT until FROM turnout_mark WHERE key = ? ORDER BY until LIMIT ?;

-- name: mark_put
INSERT INTO turnout_mark (key, owner, until, value) VALUES (?, ?, ?, ?)
ON CONFLICT (key, owner) DO UPDATE SET until = excluded.until, value = excluded.value;

-- name: mark_drop
DELETE FROM turnout_mark WHERE key = ? AND owner = ?;

-- name: prune_marks
DELETE FROM turnout_mark WHERE (key, owner) IN (
    SELECT key, owner FROM turnout_mark WHERE until <= ? ORDER BY until LIMIT ?
);

-- ---------------------------------------------------------------- metrics

-- name: metric_begin
-- Changes nothing, and says so, where the number is known.
INSERT INTO turnout_metric_source (source, number, seen) VALUES (?, ?, ?)
ON CONFLICT (source) DO UPDATE SET number = excluded.number, seen = excluded.seen
WHERE excluded.number > number;

-- name: metric_read
SELECT m.step, m.at, m.task, m.queue, m.body FROM json_each(?) AS s
JOIN turnout_metric AS m
ON m.step = json_extract(s.value, '$[0]') AND m.at = json_extract(s.value, '$[1]');

-- name: metric_put
INSERT INTO turnout_metric (step, at, task, queue, body)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
    json_extract(value, '$[3]'), json_extract(value, '$[4]')
FROM json_each(?) WHERE true
ON CONFLICT (step, at, task, queue) DO UPDATE SET body = excluded.body;

-- name: metrics
SELECT at, task, queue, body FROM turnout_metric
WHERE step = ? AND at >= ? AND (? IS NULL OR task = ?) ORDER BY at, task, queue;

-- name: prune_metrics
DELETE FROM turnout_metric WHERE (step, at, task, queue) IN (
    SELECT step, at, task, queue FROM turnout_metric WHERE step = ? AND at < ? LIMIT ?
);

-- name: prune_sources
DELETE FROM turnout_metric_source WHERE source IN (
    SELECT source FROM turnout_metric_source WHERE seen < ? LIMIT ?
);
