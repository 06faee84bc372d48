"""A Turnout of tomorrow: the same code, with one more migration, which only adds.

The migration adds a column to the tables of the hot path, a table and a row that says whom it
serves: the code of today, whose number is `TODAY`.
"""

from __future__ import annotations

import sqlite3
from urllib.parse import parse_qs, urlsplit

import psycopg

from support import mysql as servers
from turnout.store.mysql import checks as mysql
from turnout.store.mysql.base import with_prefix
from turnout.store.postgres import checks as postgres
from turnout.store.postgres.base import in_schema
from turnout.store.sqlite import checks as sqlite

TODAY = sqlite.VERSION
NEXT = TODAY + 1
_SQLITE = f"""
ALTER TABLE turnout_job ADD COLUMN hint TEXT;
ALTER TABLE turnout_ready ADD COLUMN hint TEXT;
ALTER TABLE turnout_lease ADD COLUMN hint TEXT;
ALTER TABLE turnout_final ADD COLUMN hint TEXT;
CREATE TABLE turnout_hint (id TEXT PRIMARY KEY, said TEXT NOT NULL);
UPDATE turnout_meta SET value = '{NEXT}' WHERE key = 'schema';
INSERT INTO turnout_meta VALUES ('serves', '{TODAY}');
"""
_POSTGRES = f"""
ALTER TYPE turnout.job ADD ATTRIBUTE hint text CASCADE;
ALTER TABLE turnout.lease ADD COLUMN hint text;
ALTER TABLE turnout.final ADD COLUMN hint text;
CREATE TABLE turnout.hint (id uuid PRIMARY KEY, said text NOT NULL);
UPDATE turnout.meta SET value = '{NEXT}' WHERE key = 'schema';
INSERT INTO turnout.meta VALUES ('serves', '{TODAY}');
"""
_MYSQL = (
    "ALTER TABLE turnout_job ADD COLUMN hint :text",
    "ALTER TABLE turnout_ready ADD COLUMN hint :text",
    "ALTER TABLE turnout_lease ADD COLUMN hint :text",
    "ALTER TABLE turnout_final ADD COLUMN hint :text",
    "CREATE TABLE turnout_hint (id :id PRIMARY KEY, said :text NOT NULL)",
    f"REPLACE INTO turnout_meta VALUES ('serves', '{TODAY}')",
    f"REPLACE INTO turnout_meta VALUES ('schema', '{NEXT}')",
)


def install() -> None:
    """Let this process be of tomorrow."""
    for checks in (sqlite, postgres, mysql):
        assert checks.VERSION == TODAY
        checks.VERSION = NEXT
    sqlite.MIGRATIONS.append(_SQLITE)
    postgres.schema_text = lambda schema, _version: in_schema(_POSTGRES, schema)
    mysql.schema_steps = lambda prefix, _version: [with_prefix(step, prefix) for step in _MYSQL]


def number(url: str) -> int:
    """Return the number that the schema behind a URL says it has."""
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    if parts.scheme == "sqlite":
        connection: object = sqlite3.connect(
            parts.path[1:] if parts.path[:2] == "//" else parts.path
        )
        sql = "SELECT value FROM turnout_meta WHERE key = 'schema'"
    elif parts.scheme == "postgresql":
        connection = psycopg.connect(parts._replace(query="").geturl())
        sql = in_schema("SELECT value FROM turnout.meta WHERE key = 'schema'", query["schema"])
    else:
        connection = servers.connect(url)
        sql = with_prefix("SELECT value FROM turnout_meta WHERE name = 'schema'", query["prefix"])
    cursor = connection.cursor()
    cursor.execute(sql)
    [(said,)] = cursor.fetchall()
    connection.close()
    return int(said)
