"""What the verbs of this adapter share: statements under a schema's name, and small codecs."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Any

from turnout.store.queries import load_queries
from turnout.store.server.turn import Turn as BaseTurn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from turnout.job import JobRecord
    from turnout.store.postgres.connection import Connection

MIGRATIONS = ("001_initial.sql", "002_marks.sql", "003_metrics.sql")
VERSION = len(MIGRATIONS)
_PACKAGE = "turnout.store.postgres"
_NAMED = load_queries(_PACKAGE, "queries.sql")
_PREFIX = re.compile(r"\bturnout\.")

SEPARATOR = "\x1e"  # between JSON texts, which cannot hold it; the functions know it too


def in_schema(sql: str, schema: str) -> str:
    """Return SQL with its tables and functions in the schema named."""
    quoted = '"' + schema.replace('"', '""') + '"'
    return _PREFIX.sub(lambda _: f"{quoted}.", sql)


def queries_of(schema: str) -> dict[str, str]:
    """Return the statements by name, for the schema named; `schema` is its name."""
    return {name: in_schema(sql, schema) for name, sql in _NAMED.items()} | {"schema": schema}


def schema_text(schema: str, version: int = 0) -> str:
    """Return the SQL that makes the schema, or upgrades it from `version`."""
    files = resources.files(_PACKAGE)
    names = [*MIGRATIONS[version:], *(() if version else ("functions.sql",))]
    parts = [in_schema(files.joinpath(name).read_text("utf-8"), schema) for name in names]
    return "\n".join(parts if version else [_schema_head(schema), *parts])


def _schema_head(schema: str) -> str:
    # IF NOT EXISTS would ask for the right to create schemas also where this one exists.
    name = in_schema("turnout.", schema).rstrip(".")
    text = name.replace("'", "''")
    return (
        f"DO $make$ BEGIN IF to_regnamespace('{text}') IS NULL THEN CREATE SCHEMA {name}; "
        "END IF; END $make$;\n"
    )


# psycopg's own lists cost 10 us a job: each element by itself, quotes by a regular expression. And
# a text that is cast binds the same on every driver that a caller may hand in.


def array(values: Iterable[object]) -> str:
    """Return ids or numbers as the text of an array, None as NULL."""
    return "{" + ",".join(["NULL" if one is None else str(one) for one in values]) + "}"


def text_array(values: Iterable[str | None]) -> str:
    """Return any texts as the text of an array."""
    return "{" + ",".join(["NULL" if one is None else _quoted(one) for one in values]) + "}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Turn(BaseTurn):
    """One transaction, or one look: its statements by name, its clock."""

    __slots__ = ("_connection", "_queries")

    def __init__(self, connection: Connection, queries: dict[str, str], now: float | None) -> None:
        self._connection = connection
        self._queries = queries
        if now is None:
            now = float(self.rows("clock", None)[0][0])
        self.now = now

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a named statement and return its rows."""
        return self._connection.execute(self._queries[query].encode(), values).fetchall()

    def do(self, query: str, *values: object) -> int:
        """Run a named statement and return how many rows it touched."""
        return self._connection.execute(self._queries[query].encode(), values).rowcount

    def select(self, sql: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """Run a statement built at run time, in this store's schema.

        Never prepared: planned without its values, a search for what is nowhere walks everything.
        """
        text = in_schema(sql, self._queries["schema"])
        return self._connection.execute(text.encode(), values, prepare=False).fetchall()

    def drop_queued(self, records: Sequence[JobRecord]) -> list[tuple[str, str, int]]:
        """Delete queued jobs in one statement."""
        dropped: list[Any] = self.rows("drop_queued", [record.id for record in records])
        return dropped
