-- Marks under limit keys; see turnout/limits/marks.py. Expired ones are dropped when their key is asked
-- for, and by prune. Whoever asks locks the key's row of `gate` first: a key without marks has no row of
-- its own that could be locked. Keys are bytes, as collations would take `a` for `a `.

CREATE TABLE IF NOT EXISTS turnout_mark (
    name VARBINARY(1000) NOT NULL,
    owner VARBINARY(1000) NOT NULL,
    until DOUBLE NOT NULL,
    value LONGTEXT,
    PRIMARY KEY (name, owner),
    KEY until (name, until),
    KEY age (until)
) :table;

CREATE TABLE IF NOT EXISTS turnout_gate (n INT PRIMARY KEY) :table;

INSERT IGNORE INTO turnout_gate (n)
WITH RECURSIVE stripe (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM stripe WHERE n < 255)
SELECT n FROM stripe;
