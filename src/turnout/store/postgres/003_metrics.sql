-- What is measured of attempts; see turnout/metrics.py. One row a step of time, a task and a queue: `step`
-- in seconds, 0 for ever; `body` is JSON as in turnout/store/measuring.py. A source is a worker process:
-- the number of what it last had counted.

CREATE TABLE turnout.metric (
    step integer NOT NULL,
    at bigint NOT NULL,
    task text NOT NULL,
    queue text NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (step, at, task, queue)
) WITH (fillfactor = 50); -- the rows of this minute are written again every few seconds

CREATE TABLE turnout.metric_source (
    source text PRIMARY KEY,
    number bigint NOT NULL,
    seen double precision NOT NULL
);

UPDATE turnout.meta SET value = '3' WHERE key = 'schema';
