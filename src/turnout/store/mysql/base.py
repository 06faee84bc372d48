"""What the verbs of this adapter share: statements under a prefix, and one transaction.

The invariant: every name of ours begins with the prefix, and a prefix is letters, digits and `_`,
so that it needs no quoting.
"""

from __future__ import annotations

import re
from collections import Counter
from importlib import resources
from typing import TYPE_CHECKING, Any

from turnout.store.mysql.connection import run, touched
from turnout.store.queries import load_queries
from turnout.store.server.turn import Turn as BaseTurn
from turnout.store.server.turn import encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from turnout.job import JobId, JobRecord
    from turnout.store.mysql.driver import Connection

MIGRATIONS = ("001_initial.sql", "002_marks.sql", "003_metrics.sql")
VERSION = len(MIGRATIONS)
_PACKAGE = "turnout.store.mysql"
_NAMED = load_queries(_PACKAGE, "queries.sql")
_NAMES = re.compile(r"\bturnout[_.]")
_BINARY = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
_ASCII = "CHARACTER SET ascii COLLATE ascii_bin"
# Types and the clock, which the .sql files write as `:id`: comparing two columns whose character
# sets differ would convert one of them, and not use its index.
_SHORT = {
    "id": f"CHAR(36) {_ASCII}",
    "ids": f"LONGTEXT {_ASCII}",
    "text": f"LONGTEXT {_BINARY}",
    "name": f"VARCHAR(191) {_BINARY}",
    "long": f"VARCHAR(512) {_BINARY}",
    "key": f"VARCHAR(700) {_BINARY}",
    "table": "ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin",
    # MySQL refuses to lock a JSON_TABLE, MariaDB to name what it locks: each reads one of the two
    # comments (MariaDB leaves out those numbered 50700 to 50999).
    "share": "/*M! LOCK IN SHARE MODE */ /*!50799 FOR SHARE OF j */",
    # Not UNIX_TIMESTAMP(NOW(6)): in an hour that the session's time zone has twice, that is wrong.
    "now": "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6",
}
_SHORTS = re.compile(r":(" + "|".join(_SHORT) + r")\b")


def with_prefix(sql: str, prefix: str) -> str:
    """Return SQL with its tables and procedures under the prefix, and its short words spelled."""
    spelled = _SHORTS.sub(lambda found: _SHORT[found[1]], sql)
    return _NAMES.sub(lambda _: prefix, spelled)


def queries_of(prefix: str) -> dict[str, str]:
    """Return the statements by name, for a prefix; `prefix` is itself."""
    return {name: with_prefix(sql, prefix) for name, sql in _NAMED.items()} | {"prefix": prefix}


def schema_steps(prefix: str, version: int = 0) -> list[str]:
    """Return the statements that make the schema, or upgrade it; each may be repeated."""
    files = resources.files(_PACKAGE)
    steps: list[str] = []
    for name in MIGRATIONS[version:]:
        tables = files.joinpath(name).read_text("utf-8")
        steps += [step for step in re.split(r";\n", tables) if step.strip()]
    if not version:
        steps += _procedures(files.joinpath("procedures.sql").read_text("utf-8"))
    # Last, so that a migration that was cut short begins again.
    steps.append(f"REPLACE INTO turnout_meta VALUES ('schema', '{VERSION}')")  # noqa: S608
    return [with_prefix(step, prefix).strip() for step in steps]


def _procedures(text: str) -> list[str]:
    steps: list[str] = []
    for step in text.split("$$\n"):
        named = re.search(r"CREATE PROCEDURE (\w+)", step)
        if named:
            steps += [f"DROP PROCEDURE IF EXISTS {named[1]}", step]
    return steps


def schema_text(prefix: str) -> str:
    """Return the SQL that makes the schema, for the console."""
    return "\n".join(["DELIMITER $$", *(f"{step} $$\n" for step in schema_steps(prefix))])


class Turn(BaseTurn):
    """One transaction, or one look: its statements by name, its clock.

    Statements name their values `%(1)s`, `%(2)s`, because some need one twice; a list stands for
    the right side of IN.
    """

    __slots__ = ("_connection", "_queries")

    def __init__(self, connection: Connection, queries: dict[str, str], now: float | None) -> None:
        self._connection = connection
        self._queries = queries
        if now is None:
            now = float(self.rows("clock")[0][0])
        self.now = now

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a named statement and return its rows."""
        return run(self._connection, self._queries[query], _bound(values))

    def do(self, query: str, *values: object) -> int:
        """Run a named statement and return how many rows it touched."""
        return touched(self._connection, self._queries[query], _bound(values))

    def select(self, sql: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """Run a statement built at run time, under this store's prefix."""
        return run(self._connection, with_prefix(sql, self._queries["prefix"]), list(values))

    def drop_queued(self, records: Sequence[JobRecord]) -> list[tuple[str, str, int]]:
        """Delete queued jobs, a few statements for all: what stands in a tree is still queued."""
        known = {record.id: record for record in records}
        places: Counter[tuple[str, str]] = Counter()
        gone: list[JobId] = []
        for place in ("ready", "scheduled"):
            ids = [job_id for (job_id,) in self.rows(f"{place}_of", _json(known))]
            if ids:
                self.do(f"drop_{place}", _json(ids))
            gone += ids
            places.update((known[job_id].queue, place) for job_id in ids)
        if gone:
            self._drop_with_all_beside(known[job_id] for job_id in gone)
        return [(queue, place, n) for (queue, place), n in places.items()]

    def _drop_with_all_beside(self, records: Iterable[JobRecord]) -> None:
        keys = {record.id: record.unique_key for record in records}
        held = sorted((key, job_id) for job_id, key in keys.items() if key is not None)
        if held:
            self.do("drop_uniques", _json(held))
        for what in ("drop_progress", "drop_cancel", "drop_jobs"):
            self.do(what, list(keys))

    def lock_stripes(self, stripes: Sequence[int]) -> None:
        """Lock these rows; a row that somebody deleted would lock nothing, so it is put back."""
        if len(self.rows("mark_lock", stripes)) < len(stripes):
            for stripe in stripes:
                self.do("mark_stripe", stripe)
            self.rows("mark_lock", stripes)

    @staticmethod
    def ids_read(stored: Any) -> list[JobId]:
        """Return the ids of a lease as they are stored."""
        ids: list[JobId] = stored.split(",")
        return ids

    @staticmethod
    def ids_stored(ids: Sequence[JobId]) -> str:
        """Return ids as a lease stores them."""
        return ",".join(ids)


def _bound(values: tuple[object, ...]) -> dict[str, object] | None:
    return {str(n): in_list(value) for n, value in enumerate(values, 1)} or None


def _json(values: Iterable[object]) -> str:
    return encode(list(values)).decode()


def in_list(value: object) -> object:
    """Return a list as what stands behind IN, which must not be empty."""
    return (tuple(value) or (None,)) if isinstance(value, list) else value
