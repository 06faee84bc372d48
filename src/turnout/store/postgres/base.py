"""What the verbs of this adapter share: statements under a schema's name, and small codecs."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec

from turnout.job import JobId, Trail
from turnout.store.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from turnout.store.postgres.connection import Connection

VERSION = 1
RATE_SECONDS = 10
_PACKAGE = "turnout.store.postgres"
_NAMED = load_queries(_PACKAGE, "queries.sql")
_PREFIX = re.compile(r"\bturnout\.")

SEPARATOR = "\x1e"  # between JSON texts, which cannot hold it; the functions know it too
encode = msgspec.json.encode
decode_trail = msgspec.json.Decoder(Trail).decode


def in_schema(sql: str, schema: str) -> str:
    """Return SQL with its tables and functions in the schema named."""
    quoted = '"' + schema.replace('"', '""') + '"'
    return _PREFIX.sub(lambda _: f"{quoted}.", sql)


def queries_of(schema: str) -> dict[str, str]:
    """Return the statements by name, for the schema named; `schema` is its name."""
    return {name: in_schema(sql, schema) for name, sql in _NAMED.items()} | {"schema": schema}


def schema_text(schema: str) -> str:
    """Return the SQL that makes the schema, for a person to read or run."""
    files = resources.files(_PACKAGE)
    names = ("001_initial.sql", "functions.sql")
    parts = [files.joinpath(name).read_text("utf-8") for name in names]
    head = in_schema("CREATE SCHEMA IF NOT EXISTS turnout.", schema).rstrip(".")
    return "\n".join([f"{head};\n", *(in_schema(part, schema) for part in parts)])


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


class Turn:
    """One transaction, or one look: its statements by name, its clock."""

    __slots__ = ("_connection", "_queries", "now", "run")

    def __init__(self, connection: Connection, queries: dict[str, str], now: float | None) -> None:
        self._connection = connection
        self._queries = queries
        self.run: Callable[..., Any] = connection.execute
        if now is None:
            now = float(self.rows("clock", None)[0][0])
        self.now = now

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a named statement and return its rows."""
        found: list[tuple[Any, ...]] = self.run(self._queries[query], values).fetchall()
        return found

    def do(self, query: str, *values: object) -> int:
        """Run a named statement and return how many rows it touched."""
        return int(self.run(self._queries[query], values).rowcount)

    def add(self, queue: str, what: str, n: int = 1) -> None:
        """Count `n` more jobs of a queue in a place."""
        self.do("add", queue, what, n)

    def sql(self, text: str) -> str:
        """Return a statement built at run time, in this store's schema."""
        return in_schema(text, self._queries["schema"])

    def unique_free(self, key: str | None, job_id: JobId) -> None:
        """Give up the key that a job held, unless it is held for a time."""
        if key is not None:
            self.do("free_unique", key, job_id)
