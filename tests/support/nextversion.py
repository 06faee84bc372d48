"""A Turnout of tomorrow: the same code, with one more migration, which only adds.

The migration adds a column to the tables of the hot path, a table and a row that says whom it
serves: the code of today, whose number is `TODAY`.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any
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
SCHEMAS = ("sqlite", "postgresql", "mariadb", "mysql")
"""The stores that have one."""
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
    [(said,)] = _ask(
        url,
        sqlite="SELECT value FROM turnout_meta WHERE key = 'schema'",
        postgresql="SELECT value FROM turnout.meta WHERE key = 'schema'",
        mysql="SELECT value FROM turnout_meta WHERE name = 'schema'",
    )
    return int(said)


def migrate(url: str) -> None:
    """Bring the schema of today behind a URL to tomorrow's; other stores have none."""
    if urlsplit(url).scheme in SCHEMAS and number(url) == TODAY:
        _ask(url, sqlite=_SQLITE, postgresql=_POSTGRES, mysql=";".join(_MYSQL))


def _ask(url: str, *, sqlite: str, postgresql: str, mysql: str) -> list[Any]:
    """Run what is meant for this store, statement by statement; return what the last one found."""
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    if parts.scheme == "sqlite":
        path = parts.path[1:] if parts.path[:2] == "//" else parts.path
        connection: Any = sqlite3.connect(path, isolation_level=None)
        text = sqlite
    elif parts.scheme == "postgresql":
        connection = psycopg.connect(parts._replace(query="").geturl(), autocommit=True)
        text = in_schema(postgresql, query["schema"])
    else:
        connection = servers.connect(url, autocommit=True)
        text = with_prefix(mysql, query["prefix"])
    with closing(connection), closing(connection.cursor()) as cursor:
        for step in filter(str.strip, text.split(";")):
            cursor.execute(step)
        return list(cursor.fetchall()) if cursor.description else []
