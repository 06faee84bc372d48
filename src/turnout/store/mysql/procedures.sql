-- The verbs that are one statement and one round trip, on our connection and on a caller's. Their
-- names end in the schema's number: workers of the previous version go on calling theirs while a
-- migration runs. `$$` ends each, for a console after DELIMITER $$.
--
-- A list of ids is text with commas. To join with one it is made a JSON array, read by JSON_TABLE;
-- STRAIGHT_JOIN because the optimizer takes such a table for 40 rows and likes to begin with ours;
-- FORCE INDEX because it then scans ours when it is small, and would wait for rows of others.
-- `DELETE ... WHERE id IN (SELECT ...)` would walk the whole table once for each row.
--
-- A question is `SELECT EXISTS (...) INTO`: as `IF EXISTS (...)` it would lock what it looks at, and
-- the gap where it found nothing, in a caller's transaction under REPEATABLE READ.
--
-- What a locking read has found is read by locking reads ever after, even a row that we hold. A
-- commit shows to locking reads first: a plain SELECT that follows in the same transaction missed
-- such rows once in 5,000 turns (MariaDB 10.11, three claimers), which lost counters and left jobs
-- leased of which nobody was told.

-- Puts jobs where they can be claimed: now, or when their time comes. Counts them.
CREATE PROCEDURE turnout_place_1(IN p_ids :ids, IN p_now DOUBLE)
SQL SECURITY INVOKER
BEGIN
    DECLARE v_ids :ids DEFAULT CONCAT('["', REPLACE(p_ids, ',', '","'), '"]');
    INSERT INTO turnout_ready (queue, level, run_at, id)
        SELECT j.queue, -j.priority, j.run_at, j.id
        FROM JSON_TABLE(v_ids, '$[*]' COLUMNS (id :id PATH '$')) t
        STRAIGHT_JOIN turnout_job j FORCE INDEX (PRIMARY) ON j.id = t.id WHERE j.run_at <= p_now
        :share;
    INSERT INTO turnout_scheduled (run_at, id)
        SELECT j.run_at, j.id
        FROM JSON_TABLE(v_ids, '$[*]' COLUMNS (id :id PATH '$')) t
        STRAIGHT_JOIN turnout_job j FORCE INDEX (PRIMARY) ON j.id = t.id WHERE j.run_at > p_now
        :share;
    INSERT IGNORE INTO turnout_level (queue, level)
        SELECT j.queue, -j.priority
        FROM JSON_TABLE(v_ids, '$[*]' COLUMNS (id :id PATH '$')) t
        STRAIGHT_JOIN turnout_job j FORCE INDEX (PRIMARY) ON j.id = t.id
        WHERE NOT EXISTS (SELECT 1 FROM turnout_level l
            WHERE l.queue = j.queue AND l.level = -j.priority)
        GROUP BY j.queue, j.priority :share;
    INSERT INTO turnout_delta (queue, what, amount)
        SELECT j.queue, IF(j.run_at <= p_now, 'ready', 'scheduled') AS place, COUNT(*)
        FROM JSON_TABLE(v_ids, '$[*]' COLUMNS (id :id PATH '$')) t
        STRAIGHT_JOIN turnout_job j FORCE INDEX (PRIMARY) ON j.id = t.id GROUP BY j.queue, place :share;
END $$

-- Takes a queued job out of its claim tree and tells from which; null when it stood in neither.
CREATE PROCEDURE turnout_unplace_1(IN p_id :id, OUT p_place VARCHAR(16))
SQL SECURITY INVOKER
BEGIN
    DECLARE v_queue :name;
    DECLARE v_level INT;
    DECLARE v_run_at DOUBLE;
    SET p_place = NULL;
    SELECT queue, -priority, run_at INTO v_queue, v_level, v_run_at
        FROM turnout_job WHERE id = p_id FOR UPDATE;
    DELETE FROM turnout_ready
        WHERE queue = v_queue AND level = v_level AND run_at = v_run_at AND id = p_id;
    IF ROW_COUNT() > 0 THEN
        SET p_place = 'ready';
    ELSE
        DELETE FROM turnout_scheduled WHERE run_at = v_run_at AND id = p_id;
        IF ROW_COUNT() > 0 THEN SET p_place = 'scheduled'; END IF;
    END IF;
END $$

-- Applies outcomes that are more than a plain success to jobs: back to a queue, or to a final
-- record. `p_from` is the place whose counter they leave. One entry of `p_ends` a job; what is null
-- in it stays as it was.
CREATE PROCEDURE turnout_conclude_1(
    IN p_ends :text, IN p_from VARCHAR(16), IN p_worker :long, IN p_now DOUBLE
)
SQL SECURITY INVOKER
BEGIN
    DECLARE v_back :ids;
    DECLARE v_keys :text;
    INSERT INTO turnout_delta (queue, what, amount)
        SELECT j.queue, p_from, -COUNT(*)
        FROM JSON_TABLE(p_ends, '$[*]' COLUMNS (id :id PATH '$.id')) e
        STRAIGHT_JOIN turnout_job j FORCE INDEX (PRIMARY) ON j.id = e.id GROUP BY j.queue :share;
    SELECT GROUP_CONCAT(e.id) INTO v_back FROM JSON_TABLE(p_ends, '$[*]' COLUMNS (
        id :id PATH '$.id', state VARCHAR(16) PATH '$.state')) e WHERE e.state = 'queued';
    IF v_back IS NOT NULL THEN
        UPDATE JSON_TABLE(p_ends, '$[*]' COLUMNS (
            id :id PATH '$.id', state VARCHAR(16) PATH '$.state',
            attempt INT PATH '$.attempt', crashes INT PATH '$.crashes',
            trail :text PATH '$.trail', run_at DOUBLE PATH '$.run_at')) e
        STRAIGHT_JOIN turnout_job j FORCE INDEX (PRIMARY) ON j.id = e.id
        SET j.attempt = COALESCE(e.attempt, j.attempt), j.crashes = COALESCE(e.crashes, j.crashes),
            j.trail = COALESCE(e.trail, j.trail), j.run_at = COALESCE(e.run_at, j.run_at)
        WHERE e.state = 'queued';
        CALL turnout_place_1(v_back, p_now);
    END IF;
    INSERT INTO turnout_final (id, task, queue, args, priority, attempt, crashes, enqueued_at,
            run_at, expires_at, context, trail, unique_key, unique_until, state, started_at,
            finished_at, keep_until, worker, error, reason, result, progress)
        SELECT j.id, j.task, j.queue, j.args, j.priority, COALESCE(e.attempt, j.attempt),
            COALESCE(e.crashes, j.crashes), j.enqueued_at, j.run_at, j.expires_at, j.context,
            COALESCE(e.trail, j.trail), j.unique_key, j.unique_until, e.state, e.started_at,
            e.finished_at, e.keep_until, p_worker, e.error, e.reason, e.result,
            (SELECT p.body FROM turnout_progress p WHERE p.id = j.id)
        FROM JSON_TABLE(p_ends, '$[*]' COLUMNS (
            id :id PATH '$.id', state VARCHAR(16) PATH '$.state',
            attempt INT PATH '$.attempt', crashes INT PATH '$.crashes',
            trail :text PATH '$.trail', started_at DOUBLE PATH '$.started_at',
            finished_at DOUBLE PATH '$.finished_at', keep_until DOUBLE PATH '$.keep_until',
            error :long PATH '$.error',
            reason :text PATH '$.reason', result :text PATH '$.result',
            forget INT PATH '$.forget')) e
        STRAIGHT_JOIN turnout_job j FORCE INDEX (PRIMARY) ON j.id = e.id
        WHERE e.state <> 'queued' AND COALESCE(e.forget, 0) = 0 :share;
    INSERT INTO turnout_delta (queue, what, bucket, amount)
        SELECT j.queue, e.state, 0, COUNT(*)
        FROM JSON_TABLE(p_ends, '$[*]' COLUMNS (id :id PATH '$.id',
            state VARCHAR(16) PATH '$.state', forget INT PATH '$.forget')) e
        STRAIGHT_JOIN turnout_job j FORCE INDEX (PRIMARY) ON j.id = e.id
        WHERE e.state <> 'queued' AND COALESCE(e.forget, 0) = 0 GROUP BY j.queue, e.state
        :share;
    INSERT INTO turnout_delta (queue, what, bucket, amount)
        SELECT j.queue, 'finished', FLOOR(p_now / 10), COUNT(*)
        FROM JSON_TABLE(p_ends, '$[*]' COLUMNS (id :id PATH '$.id',
            state VARCHAR(16) PATH '$.state')) e
        STRAIGHT_JOIN turnout_job j FORCE INDEX (PRIMARY) ON j.id = e.id WHERE e.state <> 'queued' GROUP BY j.queue
        :share;
    SELECT CONCAT('[', GROUP_CONCAT(JSON_ARRAY(j.unique_key, j.id)), ']') INTO v_keys
        FROM JSON_TABLE(p_ends, '$[*]' COLUMNS (id :id PATH '$.id',
            state VARCHAR(16) PATH '$.state')) e
        STRAIGHT_JOIN turnout_job j FORCE INDEX (PRIMARY) ON j.id = e.id
        WHERE e.state <> 'queued' AND j.unique_key IS NOT NULL :share;
    IF v_keys IS NOT NULL THEN
        DELETE u FROM JSON_TABLE(v_keys, '$[*]' COLUMNS (name :key PATH '$[0]', id :id PATH '$[1]')) k
            STRAIGHT_JOIN turnout_uniq u FORCE INDEX (PRIMARY) ON u.name = CAST(k.name AS BINARY)
            WHERE u.id = k.id AND u.until <> 'time';
    END IF;
    DELETE p FROM JSON_TABLE(p_ends, '$[*]' COLUMNS (id :id PATH '$.id',
            state VARCHAR(16) PATH '$.state')) e
        STRAIGHT_JOIN turnout_progress p FORCE INDEX (PRIMARY) ON p.id = e.id WHERE e.state <> 'queued';
    DELETE c FROM JSON_TABLE(p_ends, '$[*]' COLUMNS (id :id PATH '$.id',
            state VARCHAR(16) PATH '$.state')) e
        STRAIGHT_JOIN turnout_cancel c FORCE INDEX (PRIMARY) ON c.id = e.id WHERE e.state <> 'queued';
    DELETE j FROM JSON_TABLE(p_ends, '$[*]' COLUMNS (id :id PATH '$.id',
            state VARCHAR(16) PATH '$.state')) e
        STRAIGHT_JOIN turnout_job j FORCE INDEX (PRIMARY) ON j.id = e.id WHERE e.state <> 'queued';
END $$

-- Makes due scheduled jobs claimable, at most a thousand.
CREATE PROCEDURE turnout_promote_1(IN p_now DOUBLE)
SQL SECURITY INVOKER
BEGIN
    DECLARE v_due, v_rows :ids;
    SELECT GROUP_CONCAT(d.id), CONCAT('[', GROUP_CONCAT(JSON_ARRAY(d.run_at, d.id)), ']')
        INTO v_due, v_rows FROM (
            SELECT s.run_at, s.id FROM turnout_scheduled s WHERE s.run_at <= p_now
            ORDER BY s.run_at, s.id LIMIT 1000 FOR UPDATE SKIP LOCKED) d;
    IF v_due IS NOT NULL THEN
        CALL turnout_place_1(v_due, p_now);
        DELETE s FROM JSON_TABLE(v_rows, '$[*]' COLUMNS (run_at DOUBLE PATH '$[0]', id :id PATH '$[1]')) t
            STRAIGHT_JOIN turnout_scheduled s FORCE INDEX (PRIMARY) ON s.run_at = t.run_at AND s.id = t.id;
        INSERT INTO turnout_delta (queue, what, amount)
            SELECT j.queue, 'scheduled', -COUNT(*)
            FROM JSON_TABLE(v_rows, '$[*]' COLUMNS (id :id PATH '$[1]')) t
            STRAIGHT_JOIN turnout_job j FORCE INDEX (PRIMARY) ON j.id = t.id GROUP BY j.queue :share;
    END IF;
END $$

-- Ends a queued job; answers with its old place, or with no row when it has moved on.
CREATE PROCEDURE turnout_cancel_1(IN p_id :id, IN p_ends :text, IN p_now DOUBLE)
SQL SECURITY INVOKER
BEGIN
    DECLARE v_place VARCHAR(16);
    CALL turnout_unplace_1(p_id, v_place);
    IF v_place IS NOT NULL THEN
        CALL turnout_conclude_1(p_ends, v_place, NULL, p_now);
        SELECT v_place;
    END IF;
END $$

-- Deletes a queued job; answers as `cancel` does.
CREATE PROCEDURE turnout_drop_1(IN p_id :id)
SQL SECURITY INVOKER
BEGIN
    DECLARE v_place VARCHAR(16);
    CALL turnout_unplace_1(p_id, v_place);
    IF v_place IS NOT NULL THEN
        DELETE FROM turnout_job WHERE id = p_id;
        SELECT v_place;
    END IF;
END $$

-- Makes a scheduled job due; answers with a row when it was scheduled still.
CREATE PROCEDURE turnout_hasten_1(IN p_id :id, IN p_at DOUBLE, IN p_now DOUBLE)
SQL SECURITY INVOKER
BEGIN
    DECLARE v_run_at DOUBLE;
    SELECT run_at INTO v_run_at FROM turnout_job WHERE id = p_id FOR UPDATE;
    DELETE FROM turnout_scheduled WHERE run_at = v_run_at AND id = p_id;
    IF ROW_COUNT() > 0 THEN
        UPDATE turnout_job SET run_at = p_at WHERE id = p_id;
        CALL turnout_place_1(p_id, p_now);
        SELECT 1;
    END IF;
END $$

-- Puts a final job back into its queue with fresh counts.
CREATE PROCEDURE turnout_revive_1(IN p_id :id, IN p_at DOUBLE, IN p_trail :text, IN p_now DOUBLE)
SQL SECURITY INVOKER
BEGIN
    INSERT INTO turnout_job (id, task, queue, args, priority, enqueued_at, run_at, expires_at,
            context, trail, unique_key, unique_until)
        SELECT id, task, queue, args, priority, enqueued_at, p_at, expires_at, context, p_trail,
            unique_key, unique_until FROM turnout_final WHERE id = p_id LOCK IN SHARE MODE;
    DELETE FROM turnout_final WHERE id = p_id;
    CALL turnout_place_1(p_id, p_now);
END $$

-- Folds counters: at most so many rows a heartbeat, and those that another is folding are left.
-- The rows are named exactly: one with a smaller number may be committed while this runs.
CREATE PROCEDURE turnout_fold_1()
SQL SECURITY INVOKER
BEGIN
    DECLARE v_rows :ids;
    SELECT CONCAT('[', GROUP_CONCAT(d.n), ']') INTO v_rows FROM (
        SELECT n FROM turnout_delta ORDER BY n LIMIT 20000 FOR UPDATE SKIP LOCKED) d;
    IF v_rows IS NOT NULL THEN
        INSERT INTO turnout_tally (queue, what, bucket, amount)
            SELECT s.queue, s.what, s.bucket, s.amount FROM (
                SELECT d.queue, d.what, d.bucket, SUM(d.amount) AS amount
                FROM JSON_TABLE(v_rows, '$[*]' COLUMNS (n BIGINT PATH '$')) t
                STRAIGHT_JOIN turnout_delta d FORCE INDEX (PRIMARY) ON d.n = t.n
                GROUP BY d.queue, d.what, d.bucket /*M! LOCK IN SHARE MODE */ /*!50799 FOR SHARE OF d */) s
            ORDER BY s.queue, s.what, s.bucket
            ON DUPLICATE KEY UPDATE amount = turnout_tally.amount + VALUES(amount);
        DELETE d FROM JSON_TABLE(v_rows, '$[*]' COLUMNS (n BIGINT PATH '$')) t
            STRAIGHT_JOIN turnout_delta d FORCE INDEX (PRIMARY) ON d.n = t.n;
    END IF;
END $$

-- Records jobs. The answer's rows are (what, text): 'known' and an id that exists already, and then
-- nothing was done and the caller sends the others again; 'taken' and an id that was refused because
-- its unique key is held; 'bell' and the port of a worker on this host.
--
-- New ids are larger than all others, so one look into each table at the batch's own range tells
-- that nothing is there. With `p_counts`, made by the caller, all are ready at once and hold no key.
CREATE PROCEDURE turnout_enqueue_1(
    IN p_jobs :text, IN p_first :id, IN p_last :id, IN p_counts :text, IN p_now DOUBLE,
    IN p_host :long
)
SQL SECURITY INVOKER
main: BEGIN
    DECLARE v_now DOUBLE DEFAULT COALESCE(p_now, :now);
    DECLARE v_taken, v_ids :ids DEFAULT '';
    DECLARE v_id :id;
    DECLARE v_claim, v_found BIGINT UNSIGNED;
    DECLARE v_key :key;
    DECLARE v_until VARCHAR(8);
    DECLARE v_ttl DOUBLE;
    DECLARE v_over BOOLEAN DEFAULT FALSE;
    DECLARE v_known BOOLEAN DEFAULT FALSE;
    -- In the order of their keys, so that two batches never wait for each other in a circle.
    DECLARE keyed CURSOR FOR
        SELECT u.id, u.name, u.until, u.ttl FROM JSON_TABLE(p_jobs, '$[*]' COLUMNS (
            n FOR ORDINALITY, id :id PATH '$[0]',
            name :key PATH '$[8]',
            until VARCHAR(8) PATH '$[9]', ttl DOUBLE PATH '$[10]')) u
        WHERE u.name IS NOT NULL ORDER BY u.name, u.n;
    DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_over = TRUE;

    SELECT EXISTS (SELECT 1 FROM turnout_job WHERE id BETWEEN p_first AND p_last)
        OR EXISTS (SELECT 1 FROM turnout_final WHERE id BETWEEN p_first AND p_last)
        OR EXISTS (SELECT 1 FROM turnout_trace WHERE last_id >= p_first AND first_id <= p_last)
        INTO v_known;
    IF v_known THEN
        SELECT EXISTS (
            SELECT 1 FROM JSON_TABLE(p_jobs, '$[*]' COLUMNS (id :id PATH '$[0]')) u
                STRAIGHT_JOIN turnout_job j FORCE INDEX (PRIMARY) ON j.id = u.id
            UNION ALL SELECT 1 FROM JSON_TABLE(p_jobs, '$[*]' COLUMNS (id :id PATH '$[0]')) u
                STRAIGHT_JOIN turnout_final f FORCE INDEX (PRIMARY) ON f.id = u.id
            UNION ALL SELECT 1 FROM turnout_trace r
                STRAIGHT_JOIN JSON_TABLE(r.body, '$[*]' COLUMNS (id :id PATH '$[0]')) e
                STRAIGHT_JOIN JSON_TABLE(p_jobs, '$[*]' COLUMNS (id :id PATH '$[0]')) u ON u.id = e.id
                WHERE r.last_id >= p_first AND r.first_id <= p_last
        ) INTO v_known;
        IF v_known THEN
            SELECT 'known', u.id FROM JSON_TABLE(p_jobs, '$[*]' COLUMNS (id :id PATH '$[0]')) u
                STRAIGHT_JOIN turnout_job j FORCE INDEX (PRIMARY) ON j.id = u.id
            UNION SELECT 'known', u.id
                FROM JSON_TABLE(p_jobs, '$[*]' COLUMNS (id :id PATH '$[0]')) u
                STRAIGHT_JOIN turnout_final f FORCE INDEX (PRIMARY) ON f.id = u.id
            UNION SELECT 'known', e.id FROM turnout_trace r
                STRAIGHT_JOIN JSON_TABLE(r.body, '$[*]' COLUMNS (id :id PATH '$[0]')) e
                STRAIGHT_JOIN JSON_TABLE(p_jobs, '$[*]' COLUMNS (id :id PATH '$[0]')) u ON u.id = e.id
                WHERE r.last_id >= p_first AND r.first_id <= p_last;
            LEAVE main;
        END IF;
    END IF;

    IF p_counts IS NULL THEN
        OPEN keyed;
        claims: LOOP
            FETCH keyed INTO v_id, v_key, v_until, v_ttl;
            IF v_over THEN LEAVE claims; END IF;
            -- Assignments run from left to right: the age is the last to change.
            SET v_claim = UUID_SHORT();
            INSERT INTO turnout_uniq (name, id, until, expires_at, claim)
                VALUES (v_key, v_id, v_until, v_now + v_ttl, v_claim)
                ON DUPLICATE KEY UPDATE id = IF(expires_at <= v_now, VALUES(id), id),
                    until = IF(expires_at <= v_now, VALUES(until), until),
                    claim = IF(expires_at <= v_now, VALUES(claim), claim),
                    expires_at = IF(expires_at <= v_now, VALUES(expires_at), expires_at);
            SELECT claim INTO v_found FROM turnout_uniq WHERE name = CAST(v_key AS BINARY) FOR UPDATE;
            IF v_found <> v_claim THEN SET v_taken = CONCAT(v_taken, ',', v_id); END IF;
        END LOOP;
        CLOSE keyed;
    END IF;

    INSERT INTO turnout_job (id, task, queue, args, priority, enqueued_at, run_at, expires_at,
            context, unique_key, unique_until)
        SELECT u.id, u.task, u.queue, u.args, u.priority, v_now, COALESCE(u.run_at, v_now),
            u.expires_at, u.context, u.name, u.until
        FROM JSON_TABLE(p_jobs, '$[*]' COLUMNS (
            id :id PATH '$[0]', task :long PATH '$[1]',
            queue :name PATH '$[2]', args :text PATH '$[3]',
            priority INT PATH '$[4]', run_at DOUBLE PATH '$[5]', expires_at DOUBLE PATH '$[6]',
            context :text PATH '$[7]',
            name :key PATH '$[8]',
            until VARCHAR(8) PATH '$[9]')) u
        WHERE NOT FIND_IN_SET(u.id, v_taken);
    IF p_counts IS NULL THEN
        SELECT GROUP_CONCAT(u.id) INTO v_ids
            FROM JSON_TABLE(p_jobs, '$[*]' COLUMNS (id :id PATH '$[0]')) u
            WHERE NOT FIND_IN_SET(u.id, v_taken);
        IF v_ids IS NOT NULL THEN CALL turnout_place_1(v_ids, v_now); END IF;
    ELSE
        INSERT INTO turnout_ready (queue, level, run_at, id)
            SELECT u.queue, -u.priority, v_now, u.id FROM JSON_TABLE(p_jobs, '$[*]' COLUMNS (
                id :id PATH '$[0]', queue :name PATH '$[2]',
                priority INT PATH '$[4]')) u;
        INSERT IGNORE INTO turnout_level (queue, level)
            SELECT c.queue, c.level FROM JSON_TABLE(p_counts, '$[*]' COLUMNS (
                queue :name PATH '$[0]',
                level INT PATH '$[1]')) c
            WHERE NOT EXISTS (SELECT 1 FROM turnout_level l
                WHERE l.queue = c.queue AND l.level = c.level);
        INSERT INTO turnout_delta (queue, what, amount)
            SELECT c.queue, 'ready', c.n FROM JSON_TABLE(p_counts, '$[*]' COLUMNS (
                queue :name PATH '$[0]', n INT PATH '$[2]')) c;
    END IF;

    SELECT 'taken' AS what, u.id AS text FROM JSON_TABLE(p_jobs, '$[*]' COLUMNS (id :id PATH '$[0]')) u
        WHERE v_taken <> '' AND FIND_IN_SET(u.id, v_taken)
    UNION ALL (SELECT 'bell', w.bell FROM turnout_worker w
        WHERE NOT w.ended AND w.host = p_host AND w.bell IS NOT NULL LIMIT 64);
END $$

-- Settles a batch and leases the next. The answer's rows are (what, text): a number and a leased
-- job, to be put into that order (by the server it would take a temporary file);
-- 'lost' when the epoch is over; or, with nothing done at all, remarks that make the caller look
-- again, each with ids: 'missing' from our leases, or with 'progress' or 'cancelled' and so no plain
-- successes.
--
-- p_leases are [fence, ids] to settle, the ids sorted: a lease settled whole costs one DELETE.
-- p_plain are the plain successes, p_back those that go back to their queue; p_others is for
-- `conclude`; trace and counter rows come ready made.
--
-- The claim. The plain way, `UPDATE job SET state = 'running' ... ORDER BY ... LIMIT`, rewrites each
-- row twice, and every claim walks over the entries of all jobs claimed before it until purge has
-- removed them: never, while somebody reads from an old snapshot. Here the walk begins behind the
-- mark up to which this client has claimed lately, for each level by itself. A fetch that comes back
-- short looks again from the start, when p_sweep says so: for what was committed late, or came back,
-- below the mark. The range is written as OR of two because `(run_at, id) > (x, y)` is no range to
-- this optimizer. What was claimed is deleted by name, not by range: others may have put something
-- between meanwhile.
CREATE PROCEDURE turnout_exchange_1(
    IN p_epoch :name, IN p_now DOUBLE,
    IN p_leases :ids, IN p_plain :ids, IN p_back :ids, IN p_counts :text, IN p_traces :text, IN p_others :text,
    IN p_fence BIGINT, IN p_queues :text, IN p_limit INT, IN p_marks :text, IN p_sweep BOOLEAN
)
SQL SECURITY INVOKER
main: BEGIN
    DECLARE v_now DOUBLE DEFAULT COALESCE(p_now, :now);
    DECLARE v_name :long;
    DECLARE v_i, v_count, v_left, v_room, v_most, v_got, v_turn INT DEFAULT 0;
    DECLARE v_slice, v_held, v_some, v_ids, v_missing, v_progress, v_cancelled, v_rows :ids;
    DECLARE v_fence BIGINT;
    DECLARE v_queue, v_last_queue :name DEFAULT '';
    DECLARE v_level, v_level_room INT;
    DECLARE v_at DOUBLE;
    DECLARE v_id :id;
    DECLARE v_over, v_any BOOLEAN DEFAULT FALSE;
    DECLARE levels CURSOR FOR
        SELECT a.queue, a.room, l.level, m.run_at, m.id FROM (
            SELECT p.n, p.queue, p.room FROM JSON_TABLE(p_queues, '$[*]' COLUMNS (n FOR ORDINALITY,
                queue :name PATH '$[0]',
                room INT PATH '$[1]')) p WHERE p.queue <> '*'
            UNION ALL
            SELECT p.n, o.queue, p.room FROM JSON_TABLE(p_queues, '$[*]' COLUMNS (n FOR ORDINALITY,
                queue :name PATH '$[0]',
                room INT PATH '$[1]')) p
            JOIN (SELECT DISTINCT x.queue FROM turnout_level x) o
            WHERE p.queue = '*' AND LOCATE('~', o.queue) = 0 AND o.queue NOT IN (
                SELECT q.queue FROM JSON_TABLE(p_queues, '$[*]' COLUMNS (
                    queue :name PATH '$[0]')) q)
        ) a JOIN turnout_level l ON l.queue = a.queue
        LEFT JOIN JSON_TABLE(p_marks, '$[*]' COLUMNS (
            queue :name PATH '$[0]',
            level INT PATH '$[1]', run_at DOUBLE PATH '$[2]', id :id PATH '$[3]')) m
            ON m.queue = l.queue AND m.level = l.level
        WHERE NOT EXISTS (SELECT 1 FROM turnout_queue z
            WHERE z.queue IN (a.queue, SUBSTRING_INDEX(a.queue, '~', 1)) AND z.paused)
        ORDER BY a.n, a.queue, l.level;
    DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_over = TRUE;

    SELECT w.name INTO v_name FROM turnout_worker w WHERE w.epoch = p_epoch AND NOT w.ended;
    IF v_name IS NULL THEN
        SELECT 'lost', NULL;
        LEAVE main;
    END IF;

    IF p_leases IS NOT NULL THEN
        SET v_count = JSON_LENGTH(p_leases);
        WHILE v_i < v_count DO
            SET v_fence = JSON_EXTRACT(p_leases, CONCAT('$[', v_i, '][0]'));
            SET v_slice = JSON_UNQUOTE(JSON_EXTRACT(p_leases, CONCAT('$[', v_i, '][1]')));
            SET v_i = v_i + 1;
            SET v_held = NULL;
            SELECT l.ids INTO v_held FROM turnout_lease l
                WHERE l.fence = v_fence AND l.epoch = p_epoch FOR UPDATE;
            IF v_held IS NULL THEN
                SET v_missing = CONCAT_WS(',', v_missing, v_slice);
            ELSEIF v_held <> v_slice THEN
                SELECT GROUP_CONCAT(t.id) INTO v_some
                    FROM JSON_TABLE(CONCAT('["', REPLACE(v_slice, ',', '","'), '"]'),
                        '$[*]' COLUMNS (id :id PATH '$')) t
                    WHERE NOT FIND_IN_SET(t.id, v_held);
                SET v_missing = CONCAT_WS(',', v_missing, v_some);
            END IF;
        END WHILE;
        SELECT EXISTS (SELECT 1 FROM turnout_progress) INTO v_any;
        IF v_any THEN
            SELECT GROUP_CONCAT(p.id) INTO v_progress
                FROM JSON_TABLE(p_plain, '$[*]' COLUMNS (id :id PATH '$')) t
                STRAIGHT_JOIN turnout_progress p FORCE INDEX (PRIMARY) ON p.id = t.id;
        END IF;
        SELECT EXISTS (SELECT 1 FROM turnout_cancel) INTO v_any;
        IF v_any THEN
            SELECT GROUP_CONCAT(c.id) INTO v_cancelled FROM (
                SELECT t.id FROM JSON_TABLE(p_plain, '$[*]' COLUMNS (id :id PATH '$')) t
                UNION ALL SELECT t.id FROM JSON_TABLE(p_back, '$[*]' COLUMNS (id :id PATH '$')) t
            ) s STRAIGHT_JOIN turnout_cancel c FORCE INDEX (PRIMARY) ON c.id = s.id;
        END IF;
        IF v_missing <> '' OR v_progress IS NOT NULL OR v_cancelled IS NOT NULL THEN
            SELECT 'missing', v_missing UNION ALL SELECT 'progress', v_progress
                UNION ALL SELECT 'cancelled', v_cancelled;
            LEAVE main;
        END IF;

        IF p_others IS NOT NULL THEN
            CALL turnout_conclude_1(p_others, 'running', v_name, v_now);
        END IF;
        DELETE j FROM JSON_TABLE(p_plain, '$[*]' COLUMNS (id :id PATH '$')) t
            STRAIGHT_JOIN turnout_job j FORCE INDEX (PRIMARY) ON j.id = t.id;
        SET v_i = 0;
        WHILE v_i < v_count DO
            SET v_fence = JSON_EXTRACT(p_leases, CONCAT('$[', v_i, '][0]'));
            SET v_slice = JSON_UNQUOTE(JSON_EXTRACT(p_leases, CONCAT('$[', v_i, '][1]')));
            SET v_i = v_i + 1;
            SELECT l.ids INTO v_held FROM turnout_lease l WHERE l.fence = v_fence FOR UPDATE;
            IF v_held = v_slice THEN
                DELETE FROM turnout_lease WHERE fence = v_fence;
            ELSE
                SELECT GROUP_CONCAT(t.id ORDER BY t.id) INTO v_some
                    FROM JSON_TABLE(CONCAT('["', REPLACE(v_held, ',', '","'), '"]'),
                        '$[*]' COLUMNS (id :id PATH '$')) t
                    WHERE NOT FIND_IN_SET(t.id, v_slice);
                UPDATE turnout_lease SET ids = v_some WHERE fence = v_fence;
            END IF;
        END WHILE;
        INSERT INTO turnout_trace (queue, worker, keep, keep_until, total, first_id, last_id, body)
            SELECT t.queue, v_name, t.keep, t.keep_until, t.total, t.first_id, t.last_id, t.body
            FROM JSON_TABLE(p_traces, '$[*]' COLUMNS (
                queue :name PATH '$[0]', keep DOUBLE PATH '$[1]',
                keep_until DOUBLE PATH '$[2]', total INT PATH '$[3]', first_id :id PATH '$[4]',
                last_id :id PATH '$[5]', body :text PATH '$[6]')) t;
        INSERT INTO turnout_delta (queue, what, bucket, amount)
            SELECT c.queue, c.what, IF(c.what = 'finished', FLOOR(v_now / 10), 0), c.amount
            FROM JSON_TABLE(p_counts, '$[*]' COLUMNS (
                queue :name PATH '$[0]',
                what VARCHAR(16) PATH '$[1]', amount BIGINT PATH '$[2]')) c;
    END IF;

    IF p_fence IS NULL THEN LEAVE main; END IF;
    SELECT l.ids INTO v_ids FROM turnout_lease l WHERE l.fence = p_fence AND l.epoch = p_epoch;
    IF v_ids IS NULL THEN
        IF EXISTS (SELECT 1 FROM turnout_scheduled s WHERE s.run_at <= v_now) THEN
            CALL turnout_promote_1(v_now);
        END IF;
        SET v_left = p_limit, v_over = FALSE;
        OPEN levels;
        walk: LOOP
            FETCH levels INTO v_queue, v_level_room, v_level, v_at, v_id;
            IF v_over THEN LEAVE walk; END IF;
            IF v_queue <> v_last_queue THEN
                SET v_last_queue = v_queue, v_room = v_level_room;
            END IF;
            SET v_most = LEAST(v_room, v_left), v_turn = 1;
            claim: WHILE v_most > 0 AND v_turn <= 2 DO
                SELECT GROUP_CONCAT(r.id ORDER BY r.run_at, r.id), COUNT(*),
                    CONCAT('[', GROUP_CONCAT(JSON_ARRAY(r.run_at, r.id)), ']')
                INTO v_some, v_got, v_rows FROM (
                    SELECT k.run_at, k.id FROM turnout_ready k
                    WHERE k.queue = v_queue AND k.level = v_level
                        AND (k.run_at = COALESCE(v_at, -1e300) AND k.id > COALESCE(v_id, '')
                            OR k.run_at > COALESCE(v_at, -1e300))
                    ORDER BY k.run_at, k.id LIMIT v_most FOR UPDATE SKIP LOCKED) r;
                IF v_got > 0 THEN
                    DELETE r FROM JSON_TABLE(v_rows, '$[*]' COLUMNS (
                            run_at DOUBLE PATH '$[0]', id :id PATH '$[1]')) t
                        STRAIGHT_JOIN turnout_ready r FORCE INDEX (PRIMARY) ON r.queue = v_queue AND r.level = v_level
                            AND r.run_at = t.run_at AND r.id = t.id;
                    INSERT INTO turnout_delta (queue, what, amount)
                        VALUES (v_queue, 'ready', -v_got), (v_queue, 'running', v_got);
                    SET v_ids = CONCAT_WS(',', v_ids, v_some), v_most = v_most - v_got,
                        v_left = v_left - v_got, v_room = v_room - v_got;
                END IF;
                IF v_at IS NULL OR NOT p_sweep THEN LEAVE claim; END IF;
                SET v_at = NULL, v_id = NULL, v_turn = v_turn + 1;
            END WHILE;
        END LOOP;
        CLOSE levels;
        IF v_ids IS NULL THEN LEAVE main; END IF;
        IF EXISTS (SELECT 1 FROM turnout_uniq WHERE until = 'start') THEN
            DELETE u FROM JSON_TABLE(CONCAT('["', REPLACE(v_ids, ',', '","'), '"]'),
                    '$[*]' COLUMNS (id :id PATH '$')) t
                STRAIGHT_JOIN turnout_uniq u FORCE INDEX (start) ON u.until = 'start' AND u.id = t.id;
        END IF;
        INSERT INTO turnout_lease (fence, epoch, leased_at, ids)
            SELECT p_fence, p_epoch, v_now, GROUP_CONCAT(t.id ORDER BY t.id)
            FROM JSON_TABLE(CONCAT('["', REPLACE(v_ids, ',', '","'), '"]'),
                '$[*]' COLUMNS (id :id PATH '$')) t;
    END IF;
    SELECT t.n, JSON_ARRAY(j.id, j.task, j.queue, j.args, j.priority, j.attempt, j.crashes,
            j.enqueued_at, j.run_at, j.expires_at, j.context, j.trail,
            CASE j.unique_until WHEN 'finish' THEN j.unique_key END, p_fence + 0)
        FROM JSON_TABLE(CONCAT('["', REPLACE(v_ids, ',', '","'), '"]'),
            '$[*]' COLUMNS (n FOR ORDINALITY, id :id PATH '$')) t
        STRAIGHT_JOIN turnout_job j FORCE INDEX (PRIMARY) ON j.id = t.id :share;
END $$
