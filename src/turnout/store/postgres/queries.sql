-- Every statement of the PostgreSQL adapter outside its functions, by verb.

-- name: enqueue
SELECT taken::text[], sleepers FROM turnout.enqueue_1(%s::text::uuid[], %s::text::text[], %s::text::text[],
    %s::text, %s::text::integer[], %s::text::float8[], %s::text::float8[], %s::text::text[],
    %s::text::text[], %s::text::text[], %s::text::float8[], %s::float8, %s::text);

-- name: enqueue_new
-- What enqueue does for one plain job that nobody can have recorded before: a plain statement, whose
-- values are bound by libpq itself. Five looks for its id cost half a commit, a function a tenth.
WITH job AS (
    INSERT INTO turnout.ready SELECT $1::uuid, $2, $3, $4, $5::integer, 0, 0, t.now, t.now, NULL, $6,
        NULL, NULL, NULL FROM (SELECT extract(epoch FROM clock_timestamp())::float8) AS t (now)
), counted AS (
    INSERT INTO turnout.delta (queue, what, n) VALUES ($3, 'ready', 1)
), levels AS (
    INSERT INTO turnout.level SELECT $3, $5::integer
    WHERE NOT EXISTS (SELECT FROM turnout.level l WHERE l.queue = $3 AND l.rank = $5::integer)
    ON CONFLICT DO NOTHING
)
SELECT EXISTS (SELECT FROM turnout.worker WHERE asleep AND NOT ended);

-- name: exchange
SELECT * FROM turnout.exchange_1(%s::text, %s::float8, %s::boolean, %s::text::bigint[],
    %s::text::integer[], %s::text::uuid[], %s::text::text[], %s::text::float8[],
    %s::text::float8[], %s::text::integer[], %s::text::uuid[], %s::text::uuid[], %s::text,
    %s::text::jsonb, %s::bigint, %s::text::text[], %s::text::integer[], %s::integer,
    %s::text::text[], %s::text::integer[], %s::text::float8[], %s::text::uuid[], %s::boolean);

-- name: notify
-- Nothing is written, yet a notifying commit has a record of its own: it need not be flushed.
SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, %s);

-- name: note
INSERT INTO turnout.progress (id, body)
SELECT %s::uuid, %s FROM turnout.lease l JOIN turnout.worker w ON w.epoch = l.epoch AND NOT w.ended
WHERE l.fence = %s AND l.epoch = %s AND %s::uuid = ANY (l.ids)
ON CONFLICT (id) DO UPDATE SET body = excluded.body;

-- ---------------------------------------------------------------- heartbeat, reap, wait

-- name: clock
SELECT turnout.clock_1(%s::float8);

-- name: worker_row
SELECT ended, info FROM turnout.worker WHERE epoch = %s FOR UPDATE;

-- name: put_order
UPDATE turnout.worker SET info = %s WHERE epoch = %s;

-- name: put_worker
INSERT INTO turnout.worker (epoch, name, deadline, info) VALUES (%s, %s, %s, %s)
ON CONFLICT (epoch) DO UPDATE SET deadline = excluded.deadline, info = excluded.info;

-- name: end_worker
INSERT INTO turnout.worker (epoch, name, deadline, ended, info) VALUES (%s, %s, %s, true, '{}')
ON CONFLICT (epoch) DO UPDATE SET ended = true, asleep = false;

-- name: sleep
-- A flag that a crash of the server may lose: the worker says it again. So nobody waits for the disk.
UPDATE turnout.worker SET asleep = true
WHERE epoch = %s AND NOT asleep AND set_config('synchronous_commit', 'off', true) = 'off';

-- name: asked_to_stop
SELECT c.id FROM turnout.cancel c
WHERE EXISTS (SELECT FROM turnout.lease l WHERE l.epoch = %s AND c.id = ANY (l.ids));

-- name: fold
-- At most so many rows a heartbeat; those that another is folding are left to it.
WITH gone AS (
    DELETE FROM turnout.delta WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM turnout.delta LIMIT 20000 FOR UPDATE SKIP LOCKED))
    RETURNING *
)
INSERT INTO turnout.tally AS t (queue, what, bucket, n)
SELECT queue, what, bucket, sum(n) FROM gone GROUP BY queue, what, bucket ORDER BY 1, 2, 3
ON CONFLICT (queue, what, bucket) DO UPDATE SET n = t.n + excluded.n;

-- name: leases_of
SELECT l.fence, l.leased_at, l.ids, l.epoch FROM turnout.lease l WHERE l.epoch = ANY (%s)
ORDER BY l.fence FOR UPDATE;

-- name: held_jobs
SELECT j.id, j.task, j.queue, j.crashes, j.attempt, j.trail FROM turnout.lease l, unnest(l.jobs) j
WHERE l.fence = %s AND j.id = ANY (%s::uuid[]);

-- name: conclude_held
SELECT turnout.conclude_1(array_agg(j), %s::jsonb, 'running', NULL, %s)
FROM turnout.lease l, unnest(l.jobs) j WHERE l.fence = %s AND j.id = ANY (%s::uuid[]);

-- name: shrink_lease
UPDATE turnout.lease SET ids = %s::uuid[] WHERE fence = %s;

-- name: drop_lease
DELETE FROM turnout.lease WHERE fence = %s;

-- name: end_overdue
UPDATE turnout.worker SET ended = true, asleep = false WHERE NOT ended AND deadline < %s;

-- name: ended_with_leases
SELECT DISTINCT l.epoch FROM turnout.lease l LEFT JOIN turnout.worker w ON w.epoch = l.epoch
WHERE coalesce(w.ended, true);

-- name: worker_names
SELECT epoch, name, info FROM turnout.worker WHERE epoch = ANY (%s);

-- name: forget_workers
DELETE FROM turnout.worker w WHERE w.ended AND w.deadline < %s
AND NOT EXISTS (SELECT FROM turnout.lease l WHERE l.epoch = w.epoch);

-- name: open_workers
SELECT info, deadline FROM turnout.worker WHERE NOT ended;

-- name: cancels_of
SELECT id FROM turnout.cancel WHERE id = ANY (%s::uuid[]);

-- name: next_due
-- Zero when a job is ready; else when the next scheduled one is due, or null.
SELECT CASE WHEN EXISTS (SELECT FROM (
    SELECT l.queue, l.rank FROM turnout.level l
    WHERE (l.queue = ANY (%s) OR split_part(l.queue, '~', 1) = ANY (%s) OR '*' = ANY (%s))
        AND NOT EXISTS (SELECT FROM turnout.queue z
            WHERE z.queue IN (l.queue, split_part(l.queue, '~', 1)) AND z.paused)
) l CROSS JOIN LATERAL (
    SELECT FROM turnout.ready r WHERE r.queue = l.queue AND r.rank = l.rank LIMIT 1
) r) THEN 0 ELSE (SELECT run_at FROM turnout.scheduled ORDER BY run_at LIMIT 1) END;

-- ---------------------------------------------------------------- count

-- name: tallies
SELECT queue, what, sum(n)::bigint FROM (
    SELECT queue, what, n FROM turnout.tally WHERE bucket = 0
    UNION ALL SELECT queue, what, n FROM turnout.delta WHERE bucket = 0
) AS sums (queue, what, n) GROUP BY queue, what;

-- name: ready_queues
-- Summed first: thousands of lanes may be known that hold nothing.
SELECT s.queue, s.n FROM (
    SELECT queue, sum(n)::bigint FROM (
        SELECT queue, n FROM turnout.tally WHERE bucket = 0 AND what = 'ready'
        UNION ALL SELECT queue, n FROM turnout.delta WHERE bucket = 0 AND what = 'ready'
    ) AS sums (queue, n) GROUP BY queue HAVING sum(n) > 0
) AS s (queue, n)
WHERE NOT EXISTS (SELECT FROM turnout.queue z
    WHERE z.queue IN (s.queue, split_part(s.queue, '~', 1)) AND z.paused);

-- name: rates
SELECT queue, sum(n)::bigint FROM (
    SELECT queue, n FROM turnout.tally WHERE what = 'finished' AND bucket > %s
    UNION ALL SELECT queue, n FROM turnout.delta WHERE what = 'finished' AND bucket > %s
) AS sums (queue, n) GROUP BY queue;

-- name: queues
SELECT queue, paused FROM turnout.queue;

-- name: due_by_queue
SELECT queue, count(*), min(run_at) FROM
    (SELECT queue, run_at FROM turnout.scheduled WHERE run_at <= %s ORDER BY run_at LIMIT %s) AS due
GROUP BY queue;

-- name: oldest_ready
SELECT min(r.run_at) FROM turnout.level l CROSS JOIN LATERAL (
    SELECT run_at FROM turnout.ready r WHERE r.queue = l.queue AND r.rank = l.rank
    ORDER BY run_at LIMIT 1
) r WHERE l.queue = %s;

-- ---------------------------------------------------------------- find

-- name: running
SELECT u, l.leased_at, coalesce(w.name, l.epoch)
FROM turnout.lease l CROSS JOIN unnest(l.ids) u LEFT JOIN turnout.worker w ON w.epoch = l.epoch;

-- name: side_rows
-- Progress, or null for a wish that the job stop.
WITH ids AS (SELECT %s::uuid[] AS ids)
SELECT id, body FROM turnout.progress, ids WHERE id = ANY (ids)
UNION ALL SELECT id, NULL FROM turnout.cancel, ids WHERE id = ANY (ids);

-- ---------------------------------------------------------------- change, pause, prune

-- name: cancel_queued
WITH r AS (DELETE FROM turnout.ready WHERE id = %s RETURNING *),
    s AS (DELETE FROM turnout.scheduled WHERE id = %s RETURNING *),
    gone AS (SELECT 'ready' AS place, ROW(r.*)::turnout.job AS job FROM r
        UNION ALL SELECT 'scheduled', ROW(s.*)::turnout.job FROM s)
SELECT turnout.conclude_1(ARRAY[job], %s::jsonb, place, NULL, %s) FROM gone;

-- name: add
INSERT INTO turnout.delta (queue, what, n) VALUES (%s, %s, %s);

-- name: free_unique
DELETE FROM turnout.uniq WHERE key = %s AND id = %s AND until <> 'time';

-- name: drop_queued
-- Those still queued, wherever they are, with all that is kept beside them; how many went from where.
WITH ids AS MATERIALIZED (SELECT %s::uuid[] AS ids),
    r AS (DELETE FROM turnout.ready USING ids WHERE id = ANY (ids)
        RETURNING queue, id, unique_key, 'ready' AS place),
    s AS (DELETE FROM turnout.scheduled USING ids WHERE id = ANY (ids)
        RETURNING queue, id, unique_key, 'scheduled' AS place),
    gone AS (SELECT * FROM r UNION ALL SELECT * FROM s),
    keys AS (DELETE FROM turnout.uniq u USING gone g
        WHERE u.key = g.unique_key AND u.id = g.id AND u.until <> 'time'),
    told AS (DELETE FROM turnout.progress p USING gone g WHERE p.id = g.id),
    asked AS (DELETE FROM turnout.cancel c USING gone g WHERE c.id = g.id)
SELECT queue, place, count(*) FROM gone GROUP BY queue, place;

-- name: hasten
WITH gone AS (DELETE FROM turnout.scheduled WHERE id = %s RETURNING *)
SELECT turnout.place_1(array_agg(jsonb_populate_record(ROW(gone.*)::turnout.job,
    jsonb_build_object('run_at', %s::double precision))), %s)
FROM gone HAVING count(*) > 0;

-- name: final_row
SELECT unique_key, unique_until, trail FROM turnout.final WHERE id = %s FOR UPDATE;

-- name: claim_unique
INSERT INTO turnout.uniq AS q VALUES (%s, %s, 'finish', NULL)
ON CONFLICT (key) DO UPDATE SET id = excluded.id, until = excluded.until, expires_at = NULL
WHERE q.expires_at <= %s;

-- name: revive
WITH gone AS (DELETE FROM turnout.final WHERE id = %s RETURNING *)
SELECT turnout.place_1(array_agg(jsonb_populate_record(NULL::turnout.job, to_jsonb(gone)
    || jsonb_build_object('attempt', 0, 'crashes', 0, 'run_at', %s::double precision,
        'trail', %s::text))), %s)
FROM gone HAVING count(*) > 0;

-- name: drop_final
DELETE FROM turnout.final WHERE id = ANY (%s::uuid[]) RETURNING queue, id;

-- name: put_cancel
INSERT INTO turnout.cancel (id) VALUES (%s) ON CONFLICT DO NOTHING;

-- name: traces_holding
SELECT n, body FROM turnout.trace WHERE last_id >= %s AND first_id <= %s FOR UPDATE;

-- name: trace_row
SELECT queue, keep, body FROM turnout.trace WHERE n = %s FOR UPDATE;

-- name: update_trace
UPDATE turnout.trace SET keep_until = %s, total = %s, first_id = %s, last_id = %s, body = %s WHERE n = %s;

-- name: drop_trace
DELETE FROM turnout.trace WHERE n = %s;

-- name: put_queue
INSERT INTO turnout.queue (queue, paused) VALUES (%s, %s)
ON CONFLICT (queue) DO UPDATE SET paused = excluded.paused;

-- name: overdue_traces
SELECT n FROM turnout.trace WHERE keep_until < %s ORDER BY keep_until LIMIT %s;

-- name: overdue_successes
SELECT id, queue FROM turnout.final WHERE state = 'succeeded' AND keep_until < %s LIMIT %s;

-- name: overdue_ended
SELECT id, queue FROM turnout.final WHERE queue = %s AND state = %s AND finished_at < %s
ORDER BY finished_at LIMIT %s;

-- name: oldest_ended
SELECT id, queue FROM turnout.final WHERE queue = %s AND state = %s ORDER BY finished_at, id LIMIT %s;

-- name: oldest_traces
SELECT n, total FROM turnout.trace WHERE queue = %s ORDER BY n LIMIT 200;

-- name: prune_unique
DELETE FROM turnout.uniq WHERE key IN (SELECT key FROM turnout.uniq WHERE expires_at < %s LIMIT %s);

-- name: prune_rate
DELETE FROM turnout.tally WHERE what = 'finished' AND bucket < %s;

-- ---------------------------------------------------------------- marks

-- name: mark_lock
SELECT pg_advisory_xact_lock(1953722225, n) FROM unnest(%s::integer[]) AS stripes (n);

-- name: mark_expire
DELETE FROM turnout.mark WHERE key = ANY(%s::text[]) AND until <= %s;

-- name: mark_totals
SELECT key, count(*), max(until) FROM turnout.mark WHERE key = ANY(%s::text[]) GROUP BY key;

-- name: mark_held
SELECT key, owner, until, value FROM turnout.mark
WHERE (key, owner) IN (SELECT * FROM unnest(%s::text[], %s::text[]));

-- name: mark_first
SELECT until FROM turnout.mark WHERE key = %s::text ORDER BY until LIMIT %s::integer;

-- name: mark_put
INSERT INTO turnout.mark (key, owner, until, value)
SELECT key, owner, until, value
FROM json_to_recordset(%s::json) AS t (key text, owner text, until double precision, value text)
ON CONFLICT (key, owner) DO UPDATE SET until = excluded.until, value = excluded.value;

-- name: mark_drop
WITH asked AS (SELECT key, owner FROM json_to_recordset(%s::json) AS t (key text, owner text))
DELETE FROM turnout.mark AS m USING asked
WHERE m.key = asked.key AND m.owner = asked.owner;

-- name: prune_marks
DELETE FROM turnout.mark WHERE (key, owner) IN (
    SELECT key, owner FROM turnout.mark WHERE until <= %s ORDER BY until LIMIT %s FOR UPDATE SKIP LOCKED
);

-- ---------------------------------------------------------------- metrics

-- name: metric_lock
SELECT pg_advisory_xact_lock(1953722225, -1);

-- name: metric_number
SELECT number FROM turnout.metric_source WHERE source = %s;

-- name: metric_begin
INSERT INTO turnout.metric_source (source, number, seen) VALUES (%s, %s, %s)
ON CONFLICT (source) DO UPDATE SET number = excluded.number, seen = excluded.seen;

-- name: metric_read
SELECT m.step, m.at, m.task, m.queue, m.body FROM json_array_elements(%s::json) AS s
JOIN turnout.metric AS m ON m.step = (s ->> 0)::integer AND m.at = (s ->> 1)::bigint;

-- name: metric_put
INSERT INTO turnout.metric (step, at, task, queue, body)
SELECT step, at, task, queue, body FROM json_to_recordset(%s::json)
    AS t (step integer, at bigint, task text, queue text, body text)
ON CONFLICT (step, at, task, queue) DO UPDATE SET body = excluded.body;

-- name: metrics
SELECT at, task, queue, body FROM turnout.metric
WHERE step = %s AND at >= %s AND (%s::text IS NULL OR task = %s::text);

-- name: prune_metrics
DELETE FROM turnout.metric WHERE (step, at, task, queue) IN (
    SELECT step, at, task, queue FROM turnout.metric WHERE step = %s AND at < %s LIMIT %s FOR UPDATE SKIP LOCKED
);

-- name: prune_sources
DELETE FROM turnout.metric_source WHERE source IN (
    SELECT source FROM turnout.metric_source WHERE seen < %s LIMIT %s FOR UPDATE SKIP LOCKED
);
