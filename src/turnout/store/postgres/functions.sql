-- The two verbs of the hot path, each one statement and one round trip. Their names end in the
-- schema's number: workers of the previous version go on calling theirs while a migration runs.

-- The server's clock, in seconds, where the caller gives none.
CREATE FUNCTION turnout.clock_1(p_now double precision) RETURNS double precision
LANGUAGE sql AS $$ SELECT coalesce(p_now, extract(epoch FROM clock_timestamp())::double precision) $$;

-- Which of these ids exist already, in whatever state. New ids are larger than all others, so one
-- look into each table at the batch's own range tells that nothing is there. max(id) would tell the
-- same, but walks back over every index entry that was deleted and not yet vacuumed.
CREATE FUNCTION turnout.known_1(p_ids uuid[]) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
    v_first uuid; v_last uuid; v_found uuid[];
BEGIN
    v_first := p_ids[1]; v_last := v_first;
    IF cardinality(p_ids) > 1 THEN
        SELECT u INTO v_first FROM unnest(p_ids) u ORDER BY u LIMIT 1;
        SELECT u INTO v_last FROM unnest(p_ids) u ORDER BY u DESC LIMIT 1;
    END IF;
    IF EXISTS (SELECT FROM turnout.ready WHERE id BETWEEN v_first AND v_last)
        OR EXISTS (SELECT FROM turnout.scheduled WHERE id BETWEEN v_first AND v_last)
        OR EXISTS (SELECT FROM turnout.lease WHERE last_id >= v_first AND first_id <= v_last)
        OR EXISTS (SELECT FROM turnout.final WHERE id BETWEEN v_first AND v_last)
        OR EXISTS (SELECT FROM turnout.trace WHERE last_id >= v_first AND first_id <= v_last)
    THEN
        SELECT array_agg(id) INTO v_found FROM (
            SELECT id FROM turnout.ready WHERE id = ANY (p_ids)
            UNION ALL SELECT id FROM turnout.scheduled WHERE id = ANY (p_ids)
            UNION ALL SELECT id FROM turnout.final WHERE id = ANY (p_ids)
            UNION ALL SELECT u FROM turnout.lease l, unnest(l.ids) u
                WHERE l.last_id >= v_first AND l.first_id <= v_last AND u = ANY (p_ids)
            UNION ALL SELECT (e ->> 0)::uuid FROM turnout.trace t, json_array_elements(t.body::json) e
                WHERE t.last_id >= v_first AND t.first_id <= v_last AND (e ->> 0)::uuid = ANY (p_ids)
        ) AS found (id);
    END IF;
    RETURN coalesce(v_found, '{}');
END $$;

-- Records jobs; returns those refused because their unique key is taken, and whether anybody sleeps.
-- With p_notify the sleepers are woken by the transaction itself, at its commit.
--
-- An id that exists is looked for first. ON CONFLICT DO NOTHING would do that too, and cost every
-- row a second record in the log: a quarter of a bulk enqueue. What is left to it is that the same
-- ids are recorded by two at once, when a reply was lost: the later one waits, fails, looks again.
CREATE FUNCTION turnout.enqueue_1(
    p_ids uuid[], p_tasks text[], p_queues text[], p_args text, p_ranks integer[],
    p_run_ats double precision[], p_expires double precision[], p_contexts text[],
    p_keys text[], p_untils text[], p_ttls double precision[], p_now double precision,
    p_notify text, OUT taken uuid[], OUT sleepers boolean
) LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := turnout.clock_1(p_now);
    v_skip uuid[];
    v_args text[] := string_to_array(p_args, E'\x1e');
    v_each record;
BEGIN
    FOR try IN 1 .. 2 LOOP BEGIN
        taken := '{}';
        v_skip := turnout.known_1(p_ids);
        IF p_keys IS NOT NULL THEN
            -- In the order of their keys, so that two batches never wait for each other in a circle.
            FOR v_each IN
                SELECT u.* FROM unnest(p_ids, p_keys, p_untils, p_ttls)
                    WITH ORDINALITY AS u (id, key, until, ttl, n)
                WHERE u.key IS NOT NULL AND u.id <> ALL (v_skip) ORDER BY u.key, u.n
            LOOP
                INSERT INTO turnout.uniq AS q VALUES
                    (v_each.key, v_each.id, v_each.until, v_now + v_each.ttl)
                ON CONFLICT (key) DO UPDATE
                    SET id = excluded.id, until = excluded.until, expires_at = excluded.expires_at
                    WHERE q.expires_at <= v_now;
                IF NOT FOUND THEN taken := taken || v_each.id; END IF;
            END LOOP;
            v_skip := v_skip || taken;
        END IF;
        IF cardinality(p_ids) = 1 AND p_run_ats IS NULL THEN
            -- What follows for many, for one, at a third of its price.
            EXIT WHEN cardinality(v_skip) > 0;
            INSERT INTO turnout.ready VALUES (p_ids[1], p_tasks[1], p_queues[1], p_args, p_ranks[1],
                0, 0, v_now, v_now, p_expires[1], p_contexts[1], NULL, p_keys[1], p_untils[1]);
            IF NOT EXISTS (SELECT FROM turnout.level l
                WHERE l.queue = p_queues[1] AND l.rank = p_ranks[1])
            THEN
                INSERT INTO turnout.level VALUES (p_queues[1], p_ranks[1]) ON CONFLICT DO NOTHING;
            END IF;
            INSERT INTO turnout.delta (queue, what, n) VALUES (p_queues[1], 'ready', 1);
            EXIT;
        END IF;
        WITH batch AS (
            INSERT INTO turnout.ready
            SELECT u.id, coalesce(u.task, p_tasks[1]), coalesce(u.queue, p_queues[1]), u.args,
                coalesce(u.rank, p_ranks[1]), 0, 0, v_now, coalesce(u.run_at, v_now),
                u.expires_at, u.context, NULL, u.key, u.until
            FROM unnest(p_ids, p_tasks, p_queues, v_args, p_ranks, p_run_ats, p_expires, p_contexts,
                        p_keys, p_untils)
                AS u (id, task, queue, args, rank, run_at, expires_at, context, key, until)
            WHERE (u.run_at IS NULL OR u.run_at <= v_now)
                AND (cardinality(v_skip) = 0 OR u.id <> ALL (v_skip))
            RETURNING queue, rank
        ), levels AS (
            INSERT INTO turnout.level
            SELECT DISTINCT queue, rank FROM batch b
            WHERE NOT EXISTS (SELECT FROM turnout.level l WHERE l.queue = b.queue AND l.rank = b.rank)
            ON CONFLICT DO NOTHING
        )
        INSERT INTO turnout.delta (queue, what, n)
        SELECT queue, 'ready', count(*) FROM batch GROUP BY queue;
        IF p_run_ats IS NOT NULL THEN
            WITH batch AS (
                INSERT INTO turnout.scheduled
                SELECT u.id, coalesce(u.task, p_tasks[1]), coalesce(u.queue, p_queues[1]), u.args,
                coalesce(u.rank, p_ranks[1]), 0, 0, v_now, u.run_at, u.expires_at,
                    u.context, NULL, u.key, u.until
                FROM unnest(p_ids, p_tasks, p_queues, v_args, p_ranks, p_run_ats, p_expires, p_contexts,
                            p_keys, p_untils)
                    AS u (id, task, queue, args, rank, run_at, expires_at, context, key, until)
                WHERE u.run_at > v_now AND u.id <> ALL (v_skip)
                RETURNING queue
            )
            INSERT INTO turnout.delta (queue, what, n)
            SELECT queue, 'scheduled', count(*) FROM batch GROUP BY queue;
        END IF;
        EXIT;
    EXCEPTION WHEN unique_violation THEN
        IF try = 2 THEN RAISE; END IF;  -- the caller's snapshot is older than the other's commit
    END; END LOOP;
    sleepers := EXISTS (SELECT FROM turnout.worker WHERE asleep AND NOT ended);
    IF sleepers AND p_notify IS NOT NULL THEN PERFORM pg_notify(p_notify, ''); END IF;
END $$;

-- Puts jobs where they can be claimed: now, or when their time comes. Counts them.
CREATE FUNCTION turnout.place_1(p_jobs turnout.job[], p_now double precision) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO turnout.ready SELECT j.* FROM unnest(p_jobs) j WHERE j.run_at <= p_now;
    INSERT INTO turnout.scheduled SELECT j.* FROM unnest(p_jobs) j WHERE j.run_at > p_now;
    INSERT INTO turnout.level SELECT DISTINCT j.queue, j.rank FROM unnest(p_jobs) j
        WHERE NOT EXISTS (SELECT FROM turnout.level l WHERE l.queue = j.queue AND l.rank = j.rank)
        ON CONFLICT DO NOTHING;
    INSERT INTO turnout.delta (queue, what, n)
        SELECT j.queue, CASE WHEN j.run_at <= p_now THEN 'ready' ELSE 'scheduled' END, count(*)
        FROM unnest(p_jobs) j GROUP BY 1, 2;
END $$;

-- Applies outcomes that are more than a plain success to the jobs given: back to a queue, or to a
-- final record. `p_from` is the place whose counter they leave. One entry of `p_ends` a job; what is
-- null in it stays as it was. A job is changed by the names of its fields, never spelled out in full:
-- a newer version may have added one, and this function goes on beside it.
CREATE FUNCTION turnout.conclude_1(
    p_jobs turnout.job[], p_ends jsonb, p_from text, p_worker text, p_now double precision
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_back turnout.job[];
BEGIN
    SELECT array_agg(jsonb_populate_record(j, jsonb_strip_nulls(jsonb_build_object(
        'attempt', e.attempt, 'crashes', e.crashes, 'trail', e.trail, 'run_at', e.run_at))))
    INTO v_back
    FROM unnest(p_jobs) j JOIN jsonb_to_recordset(p_ends) AS e (
        id uuid, state text, attempt integer, crashes integer, trail text, run_at double precision
    ) ON e.id = j.id
    WHERE e.state = 'queued';
    IF v_back IS NOT NULL THEN PERFORM turnout.place_1(v_back, p_now); END IF;
    WITH ended AS (
        SELECT j.*, e.state, coalesce(e.attempt, j.attempt) AS attempts,
            coalesce(e.crashes, j.crashes) AS crashed, coalesce(e.trail, j.trail) AS history,
            e.started_at, e.finished_at, e.keep_until, e.error, e.reason, e.result, e.forget
        FROM unnest(p_jobs) j JOIN jsonb_to_recordset(p_ends) AS e (
            id uuid, state text, attempt integer, crashes integer, trail text,
            started_at double precision, finished_at double precision, keep_until double precision,
            error text, reason text, result text, forget boolean
        ) ON e.id = j.id
        WHERE e.state <> 'queued'
    ), kept AS (
        INSERT INTO turnout.final
        SELECT e.id, e.task, e.queue, e.args, e.rank, e.attempts, e.crashed, e.enqueued_at,
            e.run_at, e.expires_at, e.context, e.history, e.unique_key, e.unique_until, e.state,
            e.started_at, e.finished_at, e.keep_until, p_worker, e.error, e.reason, e.result,
            (SELECT body FROM turnout.progress p WHERE p.id = e.id)
        FROM ended e WHERE e.forget IS NOT TRUE
        RETURNING queue, state
    ), freed AS (
        DELETE FROM turnout.uniq u USING ended e
        WHERE u.key = e.unique_key AND u.id = e.id AND u.until <> 'time'
    ), quiet AS (
        DELETE FROM turnout.progress p USING ended e WHERE p.id = e.id
    ), done AS (
        DELETE FROM turnout.cancel c USING ended e WHERE c.id = e.id
    )
    INSERT INTO turnout.delta (queue, what, bucket, n)
    SELECT queue, state, 0, count(*) FROM kept GROUP BY queue, state
    UNION ALL SELECT queue, 'finished', floor(p_now / 10), count(*) FROM ended GROUP BY queue
    UNION ALL SELECT j.queue, p_from, 0, -count(*) FROM unnest(p_jobs) j GROUP BY j.queue;
END $$;

-- Makes due scheduled jobs claimable, at most a thousand.
CREATE FUNCTION turnout.promote_1(p_now double precision) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_due turnout.job[];
BEGIN
    WITH gone AS (
        DELETE FROM turnout.scheduled WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM turnout.scheduled WHERE run_at <= p_now
            ORDER BY run_at, id LIMIT 1000 FOR UPDATE SKIP LOCKED))
        RETURNING *
    )
    SELECT array_agg(ROW(gone.*)::turnout.job) INTO v_due FROM gone;
    IF v_due IS NULL THEN RETURN; END IF;
    PERFORM turnout.place_1(v_due, p_now);
    INSERT INTO turnout.delta (queue, what, n)
        SELECT j.queue, 'scheduled', -count(*) FROM unnest(v_due) j GROUP BY j.queue;
END $$;

-- Settles a batch and leases the next. A row of the answer is a leased job, or, where `fence` is
-- null, a remark in `task`: the epoch is 'lost'; or, with nothing done at all, the caller must look
-- again at job `id`, which is 'missing' from our leases, or has 'progress' or was 'cancelled' and so
-- is no plain success.
--
-- p_ids holds the jobs to settle, sorted within each of p_fences, whose parts end at p_ends. A lease
-- settled whole costs one DELETE. Trace rows come ready made; p_others is for `conclude`.
--
-- The claim. The plain way, `UPDATE ... SET state = 'running' WHERE id IN (SELECT ... WHERE state =
-- 'ready' ORDER BY ... FOR UPDATE SKIP LOCKED)`, writes each row twice more, and every claim walks
-- over the dead entries of all jobs before it until vacuum removes them: never, while a snapshot is
-- held. Here the walk begins behind the mark up to which this client has claimed lately, for each
-- rank by itself. A fetch that comes back short looks again from the start, when p_sweep says so:
-- for what was committed late, or came back, below the mark.
CREATE FUNCTION turnout.exchange_1(
    p_epoch text, p_now double precision, p_async boolean,
    p_fences bigint[], p_ends integer[], p_ids uuid[],
    p_plain_queues text[], p_keeps double precision[], p_untils double precision[],
    p_totals integer[], p_firsts uuid[], p_lasts uuid[], p_bodies text,
    p_others jsonb,
    p_fence bigint, p_queues text[], p_rooms integer[], p_limit integer,
    p_mark_queues text[], p_mark_ranks integer[], p_mark_ats double precision[],
    p_mark_ids uuid[], p_sweep boolean
) RETURNS TABLE (
    id uuid, task text, queue text, args text, priority integer, attempt integer, crashes integer,
    enqueued_at double precision, run_at double precision, expires_at double precision,
    context text, trail text, uniq text, fence bigint
) LANGUAGE plpgsql
SET enable_seqscan TO off SET enable_bitmapscan TO off SET plan_cache_mode TO force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now double precision := turnout.clock_1(p_now);
    v_name text; v_asleep boolean; v_start integer; v_held uuid[]; v_slice uuid[]; v_missing uuid[] := '{}';
    v_level record; v_left integer; v_batch turnout.job[]; v_jobs turnout.job[] := '{}';
    v_ids uuid[]; v_got integer; v_most integer; v_queue text := ''; v_room integer;
BEGIN
    IF p_async THEN PERFORM set_config('synchronous_commit', 'off', true); END IF;
    SELECT w.name, w.asleep INTO v_name, v_asleep
        FROM turnout.worker w WHERE w.epoch = p_epoch AND NOT w.ended;
    IF NOT FOUND THEN task := 'lost'; RETURN NEXT; RETURN; END IF;
    IF v_asleep AND p_fence IS NOT NULL THEN
        UPDATE turnout.worker w SET asleep = false WHERE w.epoch = p_epoch;
    END IF;

    IF p_ids IS NOT NULL THEN
        v_start := 1;
        FOR i IN 1 .. cardinality(p_fences) LOOP
            v_slice := p_ids[v_start : p_ends[i]];
            v_start := p_ends[i] + 1;
            SELECT l.ids INTO v_held FROM turnout.lease l
                WHERE l.fence = p_fences[i] AND l.epoch = p_epoch FOR UPDATE;
            IF NOT FOUND THEN
                v_missing := v_missing || v_slice;
            ELSIF v_held <> v_slice THEN
                v_missing := v_missing || ARRAY(SELECT u FROM unnest(v_slice) u WHERE u <> ALL (v_held));
            END IF;
        END LOOP;
        RETURN QUERY SELECT s.id, s.why, NULL::text, NULL::text, 0, 0, 0, 0::float8, 0::float8,
                0::float8, NULL::text, NULL::text, NULL::text, NULL::bigint
            FROM (SELECT u, 'missing' FROM unnest(v_missing) u
                UNION ALL SELECT p.id, 'progress' FROM turnout.progress p WHERE p.id = ANY (p_ids)
                    AND (p_others IS NULL OR NOT p_others @> jsonb_build_array(jsonb_build_object('id', p.id)))
                UNION ALL SELECT c.id, 'cancelled' FROM turnout.cancel c WHERE c.id = ANY (p_ids)
                    AND (p_others IS NULL OR NOT p_others @> jsonb_build_array(jsonb_build_object('id', c.id))
                        OR p_others @> jsonb_build_array(jsonb_build_object('id', c.id, 'state', 'queued')))
            ) AS s (id, why);
        IF FOUND THEN RETURN; END IF;

        IF p_others IS NOT NULL THEN
            SELECT array_agg(j) INTO v_batch FROM turnout.lease l, unnest(l.jobs) j
                WHERE l.fence = ANY (p_fences)
                AND j.id = ANY (l.ids) -- jobs that left a lease stand in it till all have left
                AND j.id IN (SELECT (o ->> 'id')::uuid FROM jsonb_array_elements(p_others) o);
            PERFORM turnout.conclude_1(v_batch, p_others, 'running', v_name, v_now);
        END IF;
        v_start := 1;
        FOR i IN 1 .. cardinality(p_fences) LOOP
            v_slice := p_ids[v_start : p_ends[i]];
            v_start := p_ends[i] + 1;
            DELETE FROM turnout.lease l WHERE l.fence = p_fences[i] AND l.ids = v_slice;
            IF NOT FOUND THEN
                UPDATE turnout.lease l
                SET ids = ARRAY(SELECT u FROM unnest(l.ids) u WHERE u <> ALL (v_slice) ORDER BY u)
                WHERE l.fence = p_fences[i];
            END IF;
        END LOOP;
        INSERT INTO turnout.trace (queue, worker, keep, keep_until, total, first_id, last_id, body)
            SELECT t.q, v_name, t.keep, t.until, t.total, t.low, t.high, t.body
            FROM unnest(p_plain_queues, p_keeps, p_untils, p_totals, p_firsts, p_lasts,
                    string_to_array(p_bodies, E'\x1e'))
                AS t (q, keep, until, total, low, high, body)
            WHERE t.keep > 0;
        INSERT INTO turnout.delta (queue, what, bucket, n)
            SELECT p.q, d.what, d.bucket, d.sign * p.n
            FROM unnest(p_plain_queues, p_keeps, p_totals) AS p (q, keep, n), (VALUES
                ('running', 0, -1), ('finished', floor(v_now / 10)::bigint, 1), ('succeeded', 0, 1)
            ) AS d (what, bucket, sign)
            WHERE d.what <> 'succeeded' OR p.keep > 0;
    END IF;

    IF p_fence IS NULL THEN RETURN; END IF;
    SELECT l.jobs INTO v_jobs FROM turnout.lease l WHERE l.fence = p_fence AND l.epoch = p_epoch;
    IF NOT FOUND THEN
        v_jobs := '{}';
        IF EXISTS (SELECT FROM turnout.scheduled s WHERE s.run_at <= v_now) THEN
            PERFORM turnout.promote_1(v_now);
        END IF;
        v_left := p_limit;
        FOR v_level IN
            SELECT a.queue, a.room, l.rank, m.run_at, m.id FROM (
                SELECT p.queue, p.room, p.n FROM unnest(p_queues, p_rooms)
                    WITH ORDINALITY AS p (queue, room, n) WHERE p.queue <> '*'
                UNION ALL
                SELECT o.queue, p.room, p.n FROM unnest(p_queues, p_rooms)
                    WITH ORDINALITY AS p (queue, room, n),
                    (SELECT DISTINCT x.queue FROM turnout.level x) o
                WHERE p.queue = '*' AND o.queue <> ALL (p_queues) AND strpos(o.queue, '~') = 0
            ) a JOIN turnout.level l ON l.queue = a.queue
            LEFT JOIN unnest(p_mark_queues, p_mark_ranks, p_mark_ats, p_mark_ids)
                AS m (queue, rank, run_at, id) ON m.queue = l.queue AND m.rank = l.rank
            WHERE NOT EXISTS (SELECT FROM turnout.queue z
                WHERE z.queue IN (a.queue, split_part(a.queue, '~', 1)) AND z.paused)
            ORDER BY a.n, a.queue, l.rank
        LOOP
            IF v_level.queue <> v_queue THEN
                v_queue := v_level.queue;
                v_room := v_level.room;
            END IF;
            v_most := least(v_room, v_left);
            CONTINUE WHEN v_most <= 0;
            FOR turn IN 1 .. 2 LOOP
                WITH gone AS (
                    DELETE FROM turnout.ready WHERE ctid = ANY (ARRAY(
                        SELECT r.ctid FROM turnout.ready r
                        WHERE r.queue = v_level.queue AND r.rank = v_level.rank
                            AND (r.run_at, r.id) > (coalesce(v_level.run_at, '-infinity'),
                                coalesce(v_level.id, '00000000-0000-0000-0000-000000000000'))
                        ORDER BY r.run_at, r.id LIMIT v_most FOR UPDATE SKIP LOCKED))
                    RETURNING *
                )
                SELECT array_agg(ROW(g.*)::turnout.job ORDER BY g.run_at, g.id), count(*)
                INTO v_batch, v_got FROM gone g;
                IF v_got > 0 THEN
                    INSERT INTO turnout.delta (queue, what, n)
                        VALUES (v_queue, 'ready', -v_got), (v_queue, 'running', v_got);
                    v_jobs := CASE WHEN cardinality(v_jobs) = 0 THEN v_batch ELSE v_jobs || v_batch END;
                    v_most := v_most - v_got;
                    v_left := v_left - v_got;
                    v_room := v_room - v_got;
                END IF;
                EXIT WHEN v_most <= 0 OR v_level.run_at IS NULL OR NOT p_sweep;
                v_level.run_at := NULL;
                v_level.id := NULL;
            END LOOP;
        END LOOP;
        IF cardinality(v_jobs) = 0 THEN RETURN; END IF;
        SELECT array_agg(j.id ORDER BY j.id) INTO v_ids FROM unnest(v_jobs) j;
        IF EXISTS (SELECT FROM turnout.uniq u WHERE u.until = 'start') THEN
            DELETE FROM turnout.uniq u WHERE u.until = 'start' AND u.id = ANY (v_ids);
        END IF;
        INSERT INTO turnout.lease VALUES (p_fence, p_epoch, v_now, v_ids[1],
            v_ids[cardinality(v_ids)], v_ids, v_jobs);
    END IF;
    RETURN QUERY SELECT j.id, j.task, j.queue, j.args, -j.rank, j.attempt, j.crashes,
        j.enqueued_at, j.run_at, j.expires_at, j.context, j.trail,
        CASE j.unique_until WHEN 'finish' THEN j.unique_key END, p_fence
        FROM unnest(v_jobs) j;
END $$;
