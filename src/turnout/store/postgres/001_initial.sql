-- Turnout's tables in PostgreSQL, in a schema of their own (written `turnout.` here; the URL may
-- name another). A job is one row, never updated: where it stands is told by the table it is in.
--   ready       claimable now, in the order of its queue (rank = -priority)
--   scheduled   claimable later
--   lease       one row a leased batch, which holds the jobs themselves; `ids` are those not settled
--   final       ended with something to tell; plain successes are in `trace`, a row a settled batch
-- Leasing deletes rows from `ready` and writes one row to `lease`; settling a batch deletes that one
-- row. So no index that claims walk ever holds a leased job, and no row is ever rewritten: with a
-- state column each job would leave three dead versions in the claim index, and a claim would step
-- over every one of them for as long as some transaction anywhere keeps its snapshot.

CREATE TABLE turnout.meta (key text PRIMARY KEY, value text NOT NULL);

CREATE TYPE turnout.job AS (
    id uuid, task text, queue text, args text, rank integer, attempt integer, crashes integer,
    enqueued_at double precision, run_at double precision, expires_at double precision,
    context text, trail text, unique_key text, unique_until text
);

CREATE TABLE turnout.ready OF turnout.job (PRIMARY KEY (id));
CREATE INDEX ready_claim ON turnout.ready (queue, rank, run_at, id);

CREATE TABLE turnout.scheduled OF turnout.job (PRIMARY KEY (id));
CREATE INDEX scheduled_due ON turnout.scheduled (run_at, id);

-- For people who look: which stretches of a table may hold jobs of a task, a queue, or a time. No entry a
-- row, so the hot path pays nothing that shows; without it a task that no job has is found out by
-- reading five million rows. And those that have run before, the only ones that have errors.
DO $make$ DECLARE v_task text := 'task text_bloom_ops (n_distinct_per_range = 100)'; BEGIN
    IF current_setting('server_version_num')::integer < 140000 THEN v_task := 'task'; END IF;
    EXECUTE format('CREATE INDEX ready_look ON turnout.ready USING brin (%s, enqueued_at, uuid_send(id))
        WITH (pages_per_range = 64, autosummarize = on)', v_task);
    EXECUTE format('CREATE INDEX scheduled_look ON turnout.scheduled USING brin (%s, %s, enqueued_at, uuid_send(id))
        WITH (pages_per_range = 64, autosummarize = on)', v_task, replace(v_task, 'task', 'queue'));
END $make$;
CREATE INDEX ready_tried ON turnout.ready (id) WHERE trail IS NOT NULL;
CREATE INDEX scheduled_tried ON turnout.scheduled (id) WHERE trail IS NOT NULL;

CREATE TABLE turnout.lease (
    fence bigint PRIMARY KEY,           -- made by the client: a repeated exchange is recognised
    epoch text NOT NULL,
    leased_at double precision NOT NULL,
    first_id uuid NOT NULL,
    last_id uuid NOT NULL,
    ids uuid[] NOT NULL,                -- sorted; shrinks as jobs are settled
    jobs turnout.job[] NOT NULL         -- never rewritten: it lives beside the row
) WITH (fillfactor = 50);
ALTER TABLE turnout.lease ALTER jobs SET STORAGE EXTERNAL;
CREATE INDEX lease_epoch ON turnout.lease (epoch);
CREATE INDEX lease_last ON turnout.lease (last_id);

CREATE TABLE turnout.final (
    id uuid PRIMARY KEY, task text NOT NULL, queue text NOT NULL, args text NOT NULL,
    rank integer NOT NULL, attempt integer NOT NULL, crashes integer NOT NULL,
    enqueued_at double precision NOT NULL, run_at double precision NOT NULL,
    expires_at double precision, context text, trail text, unique_key text, unique_until text,
    state text NOT NULL,
    started_at double precision,
    finished_at double precision NOT NULL,
    keep_until double precision,        -- successes only; the others go by age and count
    worker text, error text, reason text, result text, progress text
);
CREATE INDEX final_state ON turnout.final (state, id);
CREATE INDEX final_age ON turnout.final (queue, state, finished_at);

CREATE TABLE turnout.trace (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue text NOT NULL,
    worker text NOT NULL,
    keep double precision NOT NULL,
    keep_until double precision NOT NULL,
    total integer NOT NULL,
    first_id uuid NOT NULL,
    last_id uuid NOT NULL,
    body text NOT NULL
);
-- pglz, the default, takes a fifth of a drain's server time to halve these texts; lz4 a twentieth of
-- that. PostgreSQL 13 has no lz4, nor has a build without it: there they stay as they are.
DO $make$ BEGIN
    EXECUTE 'ALTER TABLE turnout.trace ALTER body SET COMPRESSION lz4';
EXCEPTION WHEN syntax_error OR feature_not_supported OR undefined_object OR invalid_parameter_value THEN
    ALTER TABLE turnout.trace ALTER body SET STORAGE EXTERNAL;
END $make$;
CREATE INDEX trace_age ON turnout.trace (queue, n);
CREATE INDEX trace_keep ON turnout.trace (keep_until);
CREATE INDEX trace_id ON turnout.trace (last_id, first_id);

CREATE TABLE turnout.worker (
    epoch text PRIMARY KEY,
    name text NOT NULL,
    deadline double precision NOT NULL,
    ended boolean NOT NULL DEFAULT false,   -- remembered for a day: it never comes back
    asleep boolean NOT NULL DEFAULT false,
    info text NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE turnout.uniq (
    key text PRIMARY KEY,
    id uuid NOT NULL,
    until text NOT NULL,
    expires_at double precision
);
CREATE INDEX uniq_start ON turnout.uniq (id) WHERE until = 'start';

CREATE TABLE turnout.progress (id uuid PRIMARY KEY, body text NOT NULL);
CREATE TABLE turnout.cancel (id uuid PRIMARY KEY);
CREATE TABLE turnout.queue (queue text PRIMARY KEY, paused boolean NOT NULL);

-- Which priorities a queue has ever had: the claim asks each level for its head. Asking the claim
-- index for the smallest rank would walk over all that was claimed and not yet vacuumed.
CREATE TABLE turnout.level (queue text, rank integer, PRIMARY KEY (queue, rank));

-- Counters. A row that every enqueue updates would make commits queue up behind each other's
-- flush, and would lock for as long as a caller's own transaction lasts. So changes are appended
-- and folded into `tally` by heartbeats; `bucket` is the ten seconds in which jobs finished.
CREATE TABLE turnout.delta (
    queue text NOT NULL, what text NOT NULL, bucket bigint NOT NULL DEFAULT 0, n bigint NOT NULL
);
CREATE TABLE turnout.tally (
    queue text, what text, bucket bigint DEFAULT 0, n bigint NOT NULL,
    PRIMARY KEY (queue, what, bucket)
) WITH (fillfactor = 50);

-- Rows live for milliseconds: vacuum early and without pauses.
ALTER TABLE turnout.ready SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE turnout.scheduled SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE turnout.lease SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_cost_delay = 0);
ALTER TABLE turnout.delta SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE turnout.worker SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

INSERT INTO turnout.meta VALUES ('schema', '1');
