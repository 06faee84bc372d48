-- Marks under limit keys; see turnout/limits/marks.py. Expired ones are dropped when their key is asked
-- for, and by prune.

CREATE TABLE turnout.mark (
    key text NOT NULL,
    owner text NOT NULL,
    until double precision NOT NULL,
    value text,
    PRIMARY KEY (key, owner)
);
CREATE INDEX mark_until ON turnout.mark (key, until);
CREATE INDEX mark_age ON turnout.mark (until);

UPDATE turnout.meta SET value = '2' WHERE key = 'schema';
