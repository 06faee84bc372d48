-- What is measured of attempts; see turnout/metrics.py. One row a step of time, a task and a queue: `step`
-- in seconds, 0 for ever; `body` is JSON as in turnout/store/measuring.py. A source is a worker process:
-- the number of what it last had counted.

CREATE TABLE turnout_metric (
    step INTEGER NOT NULL,
    at INTEGER NOT NULL,
    task TEXT NOT NULL,
    queue TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (step, at, task, queue)
) WITHOUT ROWID;

CREATE TABLE turnout_metric_source (
    source TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    seen REAL NOT NULL
) WITHOUT ROWID;

UPDATE turnout_meta SET value = '3' WHERE key = 'schema';
