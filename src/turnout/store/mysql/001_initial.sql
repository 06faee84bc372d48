-- Turnout's tables in MySQL and MariaDB. The URL may name another prefix than `turnout_`. A job is
-- one row of `job`, whose payload is never rewritten; where it stands is told by the narrow tree
-- that holds its key:
--   ready       claimable now, clustered in the order of its queue (level = -priority)
--   scheduled   claimable later
--   lease       one row a leased batch; `ids` are those not settled yet
--   final       ended with something to tell; plain successes are in `trace`, a row a settled batch
-- A leased job leaves the claim tree, so that claims never step over what others hold. Names that
-- are compared have binary collations: the default ones take `a` for `A` and `a ` for `a`.
-- Every statement may be repeated, because each commits by itself.

CREATE TABLE IF NOT EXISTS turnout_meta (
    name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY,
    value TEXT NOT NULL
) :table;

CREATE TABLE IF NOT EXISTS turnout_job (
    id :id PRIMARY KEY, -- UUIDv7: grows at its end
    task VARCHAR(512) NOT NULL,
    queue VARCHAR(191) NOT NULL,
    args LONGTEXT NOT NULL,
    priority INT NOT NULL,
    attempt INT NOT NULL DEFAULT 0,
    crashes INT NOT NULL DEFAULT 0,
    enqueued_at DOUBLE NOT NULL,
    run_at DOUBLE NOT NULL,
    expires_at DOUBLE,
    context LONGTEXT,
    trail LONGTEXT,
    unique_key VARCHAR(700),
    unique_until VARCHAR(8)
) :table;

CREATE TABLE IF NOT EXISTS turnout_ready (
    queue VARCHAR(191) NOT NULL,
    level INT NOT NULL,
    run_at DOUBLE NOT NULL,
    id :id NOT NULL,
    PRIMARY KEY (queue, level, run_at, id)
) :table;

CREATE TABLE IF NOT EXISTS turnout_scheduled (
    run_at DOUBLE NOT NULL,
    id :id NOT NULL,
    PRIMARY KEY (run_at, id)
) :table;

-- Which priorities a queue has ever had: the claim asks each level for its head.
CREATE TABLE IF NOT EXISTS turnout_level (
    queue VARCHAR(191) NOT NULL,
    level INT NOT NULL,
    PRIMARY KEY (queue, level)
) :table;

CREATE TABLE IF NOT EXISTS turnout_lease (
    fence BIGINT PRIMARY KEY,   -- made by the client: a repeated exchange is recognised
    epoch VARCHAR(191) NOT NULL,
    leased_at DOUBLE NOT NULL,
    ids :ids NOT NULL, -- sorted, with commas
    KEY epoch (epoch)
) :table;

CREATE TABLE IF NOT EXISTS turnout_worker (
    epoch VARCHAR(191) PRIMARY KEY,
    name VARCHAR(512) NOT NULL,
    deadline DOUBLE NOT NULL,
    ended BOOLEAN NOT NULL DEFAULT FALSE, -- remembered for a day: it never comes back
    host VARCHAR(512),
    bell INT,                             -- the loopback UDP port where it sleeps
    info LONGTEXT NOT NULL
) :table;

CREATE TABLE IF NOT EXISTS turnout_uniq (
    name VARBINARY(2800) PRIMARY KEY,
    id :id NOT NULL,
    until VARCHAR(8) NOT NULL,
    expires_at DOUBLE,
    claim BIGINT UNSIGNED NOT NULL DEFAULT 0, -- whose insert it was: the id may have come before
    KEY start (until, id),
    KEY age (expires_at)
) :table;

CREATE TABLE IF NOT EXISTS turnout_progress (
    id :id PRIMARY KEY,
    body LONGTEXT NOT NULL
) :table;

CREATE TABLE IF NOT EXISTS turnout_cancel (
    id :id PRIMARY KEY
) :table;

CREATE TABLE IF NOT EXISTS turnout_final (
    id :id PRIMARY KEY,
    task VARCHAR(512) NOT NULL,
    queue VARCHAR(191) NOT NULL,
    args LONGTEXT NOT NULL,
    priority INT NOT NULL,
    attempt INT NOT NULL,
    crashes INT NOT NULL,
    enqueued_at DOUBLE NOT NULL,
    run_at DOUBLE NOT NULL,
    expires_at DOUBLE,
    context LONGTEXT,
    trail LONGTEXT,
    unique_key VARCHAR(700),
    unique_until VARCHAR(8),
    state VARCHAR(16) NOT NULL,
    started_at DOUBLE,
    finished_at DOUBLE NOT NULL,
    keep_until DOUBLE,          -- successes only; the others go by age and count
    worker VARCHAR(512),
    error VARCHAR(512),
    reason LONGTEXT,
    result LONGTEXT,
    progress LONGTEXT,
    KEY state (state, id),
    KEY age (queue, state, finished_at, id)
) :table;

CREATE TABLE IF NOT EXISTS turnout_trace (
    n BIGINT AUTO_INCREMENT PRIMARY KEY,
    queue VARCHAR(191) NOT NULL,
    worker VARCHAR(512) NOT NULL,
    keep DOUBLE NOT NULL,
    keep_until DOUBLE NOT NULL,
    total INT NOT NULL,
    first_id :id NOT NULL,
    last_id :id NOT NULL,
    body LONGTEXT NOT NULL,
    KEY age (queue, n),
    KEY keep_until (keep_until),
    KEY id (last_id, n, first_id)
) :table;

CREATE TABLE IF NOT EXISTS turnout_queue (
    queue VARCHAR(191) PRIMARY KEY,
    paused BOOLEAN NOT NULL
) :table;

-- Counters. A row that every enqueue updates would make commits queue up behind each other's
-- flush, and would lock for as long as a caller's own transaction lasts. So changes are appended
-- and folded into `tally` by heartbeats; `bucket` is the ten seconds in which jobs finished.
CREATE TABLE IF NOT EXISTS turnout_delta (
    n BIGINT AUTO_INCREMENT PRIMARY KEY,
    queue VARCHAR(191) NOT NULL,
    what VARCHAR(16) NOT NULL,
    bucket BIGINT NOT NULL DEFAULT 0,
    amount BIGINT NOT NULL
) :table;

CREATE TABLE IF NOT EXISTS turnout_tally (
    queue VARCHAR(191) NOT NULL,
    what VARCHAR(16) NOT NULL,
    bucket BIGINT NOT NULL DEFAULT 0,
    amount BIGINT NOT NULL,
    PRIMARY KEY (queue, what, bucket),
    KEY rate (what, bucket)
) :table;
