-- What is measured of attempts; see turnout/metrics.py. One row a step of time, a task and a queue: `step`
-- in seconds, 0 for ever; `body` is JSON as in turnout/store/measuring.py. A source is a worker process:
-- the number of what it last had counted. Names are bytes, as collations would take `a` for `a `.

CREATE TABLE IF NOT EXISTS turnout_metric (
    step INT NOT NULL,
    at BIGINT NOT NULL,
    task VARBINARY(1000) NOT NULL,
    queue VARBINARY(764) NOT NULL,
    body MEDIUMTEXT NOT NULL,
    PRIMARY KEY (step, at, task, queue)
) :table;

CREATE TABLE IF NOT EXISTS turnout_metric_source (
    source VARCHAR(191) PRIMARY KEY,
    number BIGINT NOT NULL,
    seen DOUBLE NOT NULL
) :table;
