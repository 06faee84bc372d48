-- Every statement of the MySQL adapter outside its procedures, by verb. Values are numbered.

-- name: enqueue
CALL turnout_enqueue_1(%(jobs)s, %(first)s, %(last)s, %(counts)s, %(now)s, %(host)s)

-- name: put_level
INSERT IGNORE INTO turnout_level (queue, level) VALUES (%(1)s, %(2)s)

-- name: exchange
CALL turnout_exchange_1(%(epoch)s, %(now)s, %(leases)s, %(plain)s, %(back)s, %(counts)s,
    %(traces)s, %(others)s, %(fence)s, %(queues)s, %(limit)s, %(marks)s, %(sweep)s)

-- name: note
-- REPLACE, because an update that changes nothing counts as no row.
REPLACE INTO turnout_progress (id, body)
SELECT %(1)s, %(2)s FROM turnout_lease l JOIN turnout_worker w ON w.epoch = l.epoch AND NOT w.ended
WHERE l.fence = %(3)s AND l.epoch = %(4)s AND FIND_IN_SET(%(5)s, l.ids)

-- ---------------------------------------------------------------- heartbeat, reap, wait

-- name: clock
SELECT :now

-- name: worker_row
SELECT ended, info FROM turnout_worker WHERE epoch = %(1)s FOR UPDATE

-- name: put_order
UPDATE turnout_worker SET info = %(1)s WHERE epoch = %(2)s

-- name: put_worker
INSERT INTO turnout_worker (epoch, name, deadline, info, host, bell)
VALUES (%(1)s, %(2)s, %(3)s, %(4)s, %(5)s, %(6)s)
ON DUPLICATE KEY UPDATE deadline = VALUES(deadline), info = VALUES(info), host = VALUES(host),
    bell = VALUES(bell)

-- name: end_worker
INSERT INTO turnout_worker (epoch, name, deadline, ended, info)
VALUES (%(1)s, %(2)s, %(3)s, TRUE, '{}') ON DUPLICATE KEY UPDATE ended = TRUE

-- name: asked_to_stop
SELECT c.id FROM turnout_cancel c
WHERE EXISTS (SELECT 1 FROM turnout_lease l WHERE l.epoch = %(1)s AND FIND_IN_SET(c.id, l.ids))

-- name: fold
CALL turnout_fold_1()

-- name: leases_of
SELECT fence, leased_at, ids, epoch FROM turnout_lease WHERE epoch IN %(1)s ORDER BY fence FOR UPDATE

-- name: held_jobs
SELECT id, task, queue, crashes, attempt, trail FROM turnout_job WHERE id IN %(2)s
FOR UPDATE

-- name: conclude_held
CALL turnout_conclude_1(%(1)s, 'running', NULL, %(2)s)

-- name: shrink_lease
UPDATE turnout_lease SET ids = %(1)s WHERE fence = %(2)s

-- name: drop_lease
DELETE FROM turnout_lease WHERE fence = %(1)s

-- name: end_overdue
UPDATE turnout_worker SET ended = TRUE WHERE NOT ended AND deadline < %(1)s

-- name: ended_with_leases
SELECT DISTINCT l.epoch FROM turnout_lease l LEFT JOIN turnout_worker w ON w.epoch = l.epoch
WHERE COALESCE(w.ended, TRUE)

-- name: worker_names
SELECT epoch, name, info FROM turnout_worker WHERE epoch IN %(1)s

-- name: forget_workers
DELETE w FROM turnout_worker w LEFT JOIN turnout_lease l ON l.epoch = w.epoch
WHERE w.ended AND w.deadline < %(1)s AND l.fence IS NULL

-- name: open_workers
SELECT info, deadline, bell FROM turnout_worker WHERE NOT ended

-- name: bells
SELECT bell FROM turnout_worker WHERE NOT ended AND host = %(1)s AND bell IS NOT NULL LIMIT 64

-- name: cancels_of
SELECT id FROM turnout_cancel WHERE id IN %(1)s

-- name: look
-- Is anything ready, and in how many seconds is the next one due?
SELECT EXISTS (
    SELECT 1 FROM turnout_level l
    WHERE (l.queue IN %(1)s OR SUBSTRING_INDEX(l.queue, '~', 1) IN %(1)s OR %(2)s)
        AND NOT EXISTS (SELECT 1 FROM turnout_queue z
            WHERE z.queue IN (l.queue, SUBSTRING_INDEX(l.queue, '~', 1)) AND z.paused)
        AND EXISTS (SELECT 1 FROM turnout_ready r WHERE r.queue = l.queue AND r.level = l.level)
), (SELECT run_at - :now FROM turnout_scheduled ORDER BY run_at LIMIT 1)

-- ---------------------------------------------------------------- count

-- name: tallies
SELECT queue, what, CAST(SUM(amount) AS SIGNED) FROM (
    SELECT queue, what, amount FROM turnout_tally WHERE bucket = 0
    UNION ALL SELECT queue, what, amount FROM turnout_delta WHERE bucket = 0
) AS sums GROUP BY queue, what

-- name: ready_queues
-- Summed first: thousands of lanes may be known that hold nothing.
SELECT s.queue, s.n FROM (
    SELECT queue, CAST(SUM(amount) AS SIGNED) AS n FROM (
        SELECT queue, amount FROM turnout_tally WHERE bucket = 0 AND what = 'ready'
        UNION ALL SELECT queue, amount FROM turnout_delta WHERE bucket = 0 AND what = 'ready'
    ) AS sums GROUP BY queue HAVING SUM(amount) > 0
) AS s
WHERE NOT EXISTS (SELECT 1 FROM turnout_queue z
    WHERE z.queue IN (s.queue, SUBSTRING_INDEX(s.queue, '~', 1)) AND z.paused)

-- name: rates
SELECT queue, CAST(SUM(amount) AS SIGNED) FROM (
    SELECT queue, amount FROM turnout_tally WHERE what = 'finished' AND bucket > %(1)s
    UNION ALL SELECT queue, amount FROM turnout_delta WHERE what = 'finished' AND bucket > %(2)s
) AS sums GROUP BY queue

-- name: queues
SELECT queue, paused FROM turnout_queue

-- name: due_by_queue
SELECT j.queue, COUNT(*), MIN(j.run_at) FROM (
    SELECT id FROM turnout_scheduled WHERE run_at <= %(1)s ORDER BY run_at LIMIT %(2)s) s
JOIN turnout_job j ON j.id = s.id GROUP BY j.queue

-- name: oldest_ready
SELECT MIN((SELECT r.run_at FROM turnout_ready r WHERE r.queue = l.queue AND r.level = l.level
    ORDER BY r.run_at LIMIT 1)) FROM turnout_level l WHERE l.queue = %(1)s

-- ---------------------------------------------------------------- find

-- name: running
SELECT l.ids, l.leased_at, COALESCE(w.name, l.epoch)
FROM turnout_lease l LEFT JOIN turnout_worker w ON w.epoch = l.epoch

-- name: side_rows
-- Progress, or null for a wish that the job stop.
SELECT id, body FROM turnout_progress WHERE id IN %(1)s
UNION ALL SELECT id, NULL FROM turnout_cancel WHERE id IN %(1)s

-- ---------------------------------------------------------------- change, pause, prune

-- name: cancel_queued
CALL turnout_cancel_1(%(1)s, %(3)s, %(4)s)

-- name: add
INSERT INTO turnout_delta (queue, what, amount) VALUES (%(1)s, %(2)s, %(3)s)

-- name: free_unique
DELETE FROM turnout_uniq WHERE name = %(1)s AND id = %(2)s AND until <> 'time'

-- name: drop_progress
DELETE FROM turnout_progress WHERE id IN %(1)s

-- name: drop_cancel
DELETE FROM turnout_cancel WHERE id IN %(1)s

-- name: drop_jobs
DELETE FROM turnout_job WHERE id IN %(1)s

-- name: drop_uniques
DELETE u FROM JSON_TABLE(%(1)s, '$[*]' COLUMNS (name :key PATH '$[0]', id :id PATH '$[1]')) k
STRAIGHT_JOIN turnout_uniq u FORCE INDEX (PRIMARY) ON u.name = CAST(k.name AS BINARY)
WHERE u.id = k.id AND u.until <> 'time'

-- name: ready_of
-- Which of these jobs are ready: locked, so that nobody claims them from now on.
SELECT r.id FROM JSON_TABLE(%(1)s, '$[*]' COLUMNS (id :id PATH '$')) t
STRAIGHT_JOIN turnout_job j FORCE INDEX (PRIMARY) ON j.id = t.id
STRAIGHT_JOIN turnout_ready r FORCE INDEX (PRIMARY) ON r.queue = j.queue AND r.level = -j.priority
    AND r.run_at = j.run_at AND r.id = j.id /*M! FOR UPDATE */ /*!50799 FOR UPDATE OF j, r */

-- name: drop_ready
DELETE r FROM JSON_TABLE(%(1)s, '$[*]' COLUMNS (id :id PATH '$')) t
STRAIGHT_JOIN turnout_job j FORCE INDEX (PRIMARY) ON j.id = t.id
STRAIGHT_JOIN turnout_ready r FORCE INDEX (PRIMARY) ON r.queue = j.queue AND r.level = -j.priority
    AND r.run_at = j.run_at AND r.id = j.id

-- name: scheduled_of
SELECT s.id FROM JSON_TABLE(%(1)s, '$[*]' COLUMNS (id :id PATH '$')) t
STRAIGHT_JOIN turnout_job j FORCE INDEX (PRIMARY) ON j.id = t.id
STRAIGHT_JOIN turnout_scheduled s FORCE INDEX (PRIMARY) ON s.run_at = j.run_at AND s.id = j.id
/*M! FOR UPDATE */ /*!50799 FOR UPDATE OF j, s */

-- name: drop_scheduled
DELETE s FROM JSON_TABLE(%(1)s, '$[*]' COLUMNS (id :id PATH '$')) t
STRAIGHT_JOIN turnout_job j FORCE INDEX (PRIMARY) ON j.id = t.id
STRAIGHT_JOIN turnout_scheduled s FORCE INDEX (PRIMARY) ON s.run_at = j.run_at AND s.id = j.id

-- name: hasten
CALL turnout_hasten_1(%(1)s, %(2)s, %(3)s)

-- name: final_row
SELECT unique_key, unique_until, trail FROM turnout_final WHERE id = %(1)s FOR UPDATE

-- name: claim_unique
INSERT INTO turnout_uniq (name, id, until) VALUES (%(1)s, %(2)s, 'finish')
ON DUPLICATE KEY UPDATE id = IF(expires_at <= %(3)s, VALUES(id), id),
    until = IF(expires_at <= %(3)s, VALUES(until), until),
    expires_at = IF(expires_at <= %(3)s, NULL, expires_at)

-- name: revive
CALL turnout_revive_1(%(1)s, %(2)s, %(3)s, %(4)s)

-- name: drop_final
SELECT queue, id FROM turnout_final WHERE id IN %(1)s FOR UPDATE;
DELETE FROM turnout_final WHERE id IN %(1)s

-- name: put_cancel
INSERT IGNORE INTO turnout_cancel (id) VALUES (%(1)s)

-- name: traces_holding
SELECT n, body FROM turnout_trace WHERE last_id >= %(1)s AND first_id <= %(2)s FOR UPDATE

-- name: trace_row
SELECT queue, keep, body FROM turnout_trace WHERE n = %(1)s FOR UPDATE

-- name: update_trace
UPDATE turnout_trace SET keep_until = %(1)s, total = %(2)s, first_id = %(3)s, last_id = %(4)s,
    body = %(5)s WHERE n = %(6)s

-- name: drop_trace
DELETE FROM turnout_trace WHERE n = %(1)s

-- name: put_queue
INSERT INTO turnout_queue (queue, paused) VALUES (%(1)s, %(2)s)
ON DUPLICATE KEY UPDATE paused = VALUES(paused)

-- name: overdue_traces
SELECT n FROM turnout_trace WHERE keep_until < %(1)s ORDER BY keep_until LIMIT %(2)s

-- name: overdue_successes
SELECT id, queue FROM turnout_final WHERE state = 'succeeded' AND keep_until < %(1)s LIMIT %(2)s

-- name: overdue_ended
SELECT id, queue FROM turnout_final WHERE queue = %(1)s AND state = %(2)s AND finished_at < %(3)s
ORDER BY finished_at LIMIT %(4)s

-- name: oldest_ended
SELECT id, queue FROM turnout_final WHERE queue = %(1)s AND state = %(2)s
ORDER BY finished_at, id LIMIT %(3)s

-- name: oldest_traces
SELECT n, total FROM turnout_trace WHERE queue = %(1)s ORDER BY n LIMIT 200

-- name: prune_unique
DELETE FROM turnout_uniq WHERE expires_at < %(1)s LIMIT %(2)s

-- name: prune_rate
DELETE FROM turnout_tally WHERE what = 'finished' AND bucket < %(1)s

-- ---------------------------------------------------------------- marks

-- name: mark_lock
SELECT n FROM turnout_gate WHERE n IN %(1)s ORDER BY n FOR UPDATE

-- name: mark_stripe
INSERT IGNORE INTO turnout_gate (n) VALUES (%(1)s)

-- name: mark_expire
DELETE FROM turnout_mark WHERE name IN %(1)s AND until <= %(2)s

-- name: mark_totals
-- Locking reads, here and below, because a plain one may miss what was committed a moment before.
SELECT name, COUNT(*), MAX(until) FROM turnout_mark WHERE name IN %(1)s GROUP BY name FOR UPDATE

-- name: mark_held
SELECT name, owner, until, value FROM turnout_mark WHERE name IN %(1)s AND owner IN %(2)s FOR UPDATE

-- name: mark_first
SELECT until FROM turnout_mark WHERE name = %(1)s ORDER BY until LIMIT %(2)s FOR UPDATE

-- name: mark_put
INSERT INTO turnout_mark (name, owner, until, value)
SELECT t.name, t.owner, t.until, t.value FROM JSON_TABLE(%(1)s, '$[*]' COLUMNS (
    name VARCHAR(250) CHARACTER SET utf8mb4 PATH '$.key', owner VARCHAR(250) CHARACTER SET utf8mb4 PATH '$.owner',
    until DOUBLE PATH '$.until', value LONGTEXT CHARACTER SET utf8mb4 PATH '$.value')) t
ON DUPLICATE KEY UPDATE until = t.until, value = t.value

-- name: mark_drop
DELETE m FROM JSON_TABLE(%(1)s, '$[*]' COLUMNS (
    name VARCHAR(250) CHARACTER SET utf8mb4 PATH '$.key', owner VARCHAR(250) CHARACTER SET utf8mb4 PATH '$.owner')) t
STRAIGHT_JOIN turnout_mark m FORCE INDEX (PRIMARY)
ON m.name = CAST(t.name AS BINARY) AND m.owner = CAST(t.owner AS BINARY)

-- name: prune_marks
DELETE FROM turnout_mark WHERE until <= %(1)s LIMIT %(2)s

-- ---------------------------------------------------------------- metrics

-- name: metric_lock
-- Marks take this row too, and only for as long as one call: it costs them nothing.
SELECT n FROM turnout_gate WHERE n = 0 FOR UPDATE

-- name: metric_number
SELECT number FROM turnout_metric_source WHERE source = %(1)s FOR UPDATE

-- name: metric_begin
INSERT INTO turnout_metric_source (source, number, seen) VALUES (%(1)s, %(2)s, %(3)s)
ON DUPLICATE KEY UPDATE number = VALUES(number), seen = VALUES(seen)

-- name: metric_read
SELECT m.step, m.at, m.task, m.queue, m.body
FROM JSON_TABLE(%(1)s, '$[*]' COLUMNS (step INT PATH '$[0]', at BIGINT PATH '$[1]')) s
STRAIGHT_JOIN turnout_metric m ON m.step = s.step AND m.at = s.at /*M! FOR UPDATE */ /*!50799 FOR UPDATE OF m */

-- name: metric_put
INSERT INTO turnout_metric (step, at, task, queue, body)
SELECT t.step, t.at, t.task, t.queue, t.body FROM JSON_TABLE(%(1)s, '$[*]' COLUMNS (
    step INT PATH '$.step', at BIGINT PATH '$.at', task VARCHAR(512) CHARACTER SET utf8mb4 PATH '$.task',
    queue VARCHAR(191) CHARACTER SET utf8mb4 PATH '$.queue', body LONGTEXT CHARACTER SET utf8mb4 PATH '$.body')) t
ON DUPLICATE KEY UPDATE body = t.body

-- name: metrics
SELECT at, task, queue, body FROM turnout_metric
WHERE step = %(1)s AND at >= %(2)s AND (%(3)s IS NULL OR task = %(4)s)

-- name: prune_metrics
DELETE FROM turnout_metric WHERE step = %(1)s AND at < %(2)s LIMIT %(3)s

-- name: prune_sources
DELETE FROM turnout_metric_source WHERE seen < %(1)s LIMIT %(2)s
