-- Turnout's tables in SQLite. A job is one row of turnout_job, never rewritten on its way through
-- ready and running; where it stands is told by the narrow tree that holds its key:
--   turnout_ready      claimable now, in the order of its queue (rank = -priority)
--   turnout_scheduled  claimable later
--   turnout_lease      one row a leased batch; `ids` are those not settled yet
-- A leased job leaves the claim tree, so that claims never step over what others hold.

CREATE TABLE turnout_meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE turnout_job (
    id TEXT PRIMARY KEY,          -- UUIDv7: the tree grows at its end
    task TEXT NOT NULL,
    queue TEXT NOT NULL,
    args TEXT NOT NULL,
    priority INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    enqueued_at REAL NOT NULL,
    run_at REAL NOT NULL,
    expires_at REAL,
    context TEXT,
    trail TEXT,
    unique_key TEXT,
    unique_until TEXT
) WITHOUT ROWID;

CREATE TABLE turnout_ready (
    queue TEXT NOT NULL,
    rank INTEGER NOT NULL,
    run_at REAL NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (queue, rank, run_at, id)
) WITHOUT ROWID;

CREATE TABLE turnout_scheduled (
    run_at REAL NOT NULL,
    id TEXT NOT NULL,
    queue TEXT NOT NULL,
    rank INTEGER NOT NULL,
    PRIMARY KEY (run_at, id)
) WITHOUT ROWID;

CREATE TABLE turnout_lease (
    fence INTEGER PRIMARY KEY AUTOINCREMENT,
    epoch TEXT NOT NULL,
    leased_at REAL NOT NULL,
    ids TEXT NOT NULL             -- JSON array
);
CREATE INDEX turnout_lease_epoch ON turnout_lease (epoch);

CREATE TABLE turnout_worker (
    epoch TEXT PRIMARY KEY,
    deadline REAL NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0,   -- an ended epoch is remembered for a day: it never comes back
    bell INTEGER,                       -- the loopback UDP port where it sleeps
    info TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE turnout_unique (
    key TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    until TEXT NOT NULL,
    expires_at REAL
) WITHOUT ROWID;
CREATE INDEX turnout_unique_start ON turnout_unique (id) WHERE until = 'start';

CREATE TABLE turnout_progress (
    id TEXT PRIMARY KEY,
    body TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE turnout_cancel (
    id TEXT PRIMARY KEY
) WITHOUT ROWID;

CREATE TABLE turnout_final (
    id TEXT PRIMARY KEY,
    task TEXT NOT NULL,
    queue TEXT NOT NULL,
    args TEXT NOT NULL,
    priority INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    enqueued_at REAL NOT NULL,
    run_at REAL NOT NULL,
    expires_at REAL,
    context TEXT,
    trail TEXT,
    unique_key TEXT,
    unique_until TEXT,
    state TEXT NOT NULL,
    started_at REAL,
    finished_at REAL NOT NULL,
    keep_until REAL,              -- successes only; the others go by age and count
    worker TEXT,
    error TEXT,
    reason TEXT,
    result TEXT,
    progress TEXT
) WITHOUT ROWID;
CREATE INDEX turnout_final_state ON turnout_final (state, id);
CREATE INDEX turnout_final_age ON turnout_final (queue, state, finished_at);

-- Plain successes, a row a settled batch: writing one row a job would cost the drain a fifth.
CREATE TABLE turnout_trace (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    worker TEXT NOT NULL,
    keep REAL NOT NULL,
    keep_until REAL NOT NULL,     -- of the first of them to go
    total INTEGER NOT NULL,
    first_id TEXT NOT NULL,
    last_id TEXT NOT NULL,
    body TEXT NOT NULL            -- JSON: [[id, task, attempt, crashes, enqueued_at, run_at, priority, started, finished], ...]
);
CREATE INDEX turnout_trace_age ON turnout_trace (queue, n);
CREATE INDEX turnout_trace_keep ON turnout_trace (keep_until);
CREATE INDEX turnout_trace_id ON turnout_trace (last_id, first_id);

CREATE TABLE turnout_queue (
    queue TEXT PRIMARY KEY,
    paused INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- Counters kept in the transaction that changes what they count.
CREATE TABLE turnout_tally (
    queue TEXT NOT NULL,
    what TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (queue, what)
) WITHOUT ROWID;

-- Jobs that reached a final state, by ten seconds.
CREATE TABLE turnout_rate (
    bucket INTEGER NOT NULL,
    queue TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (bucket, queue)
) WITHOUT ROWID;

INSERT INTO turnout_meta VALUES ('schema', '1');
