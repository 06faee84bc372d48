-- Marks under limit keys; see turnout/limits/marks.py. Expired ones are dropped when their key is asked
-- for, and by prune.

CREATE TABLE turnout_mark (
    key TEXT NOT NULL,
    owner TEXT NOT NULL,
    until REAL NOT NULL,
    value TEXT,
    PRIMARY KEY (key, owner)
) WITHOUT ROWID;
CREATE INDEX turnout_mark_until ON turnout_mark (key, until);
CREATE INDEX turnout_mark_age ON turnout_mark (until);

UPDATE turnout_meta SET value = '2' WHERE key = 'schema';
