"""The schema: making it, telling ours from others', and what the server's settings promise."""

from __future__ import annotations

import re
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING

from turnout.errors import SchemaError, StoreBusy, StoreUnavailable
from turnout.store.mysql.base import VERSION, schema_steps
from turnout.store.mysql.connection import run, server_version
from turnout.store.mysql.driver import Error, number_of
from turnout.store.versions import NUMBERS, schema_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from turnout.store.mysql.driver import Connection

_OLDEST = {"MariaDB": (10, 6), "MySQL": (8, 0)}
_LOCK_TIMEOUT = 10
_NO_TABLE, _NO_COLUMN = 1146, 1054
_SMALL_PACKET = 4_194_304
_NONE = -1


def product(connection: Connection) -> tuple[str, tuple[int, ...]]:
    """Return which server this is, and its version."""
    text = server_version(connection)
    name = "MariaDB" if "mariadb" in text.lower() else "MySQL"
    numbers = re.search(r"(\d+)\.(\d+)\.(\d+)", text.removeprefix("5.5.5-"))
    return name, tuple(map(int, numbers.groups())) if numbers else (0,)


def migrate(connection: Connection, prefix: str) -> None:
    """Bring the schema to VERSION; safe to repeat, to race, and beside running workers.

    MySQL commits each statement that makes a table: a migration that was cut short is taken up
    again from its beginning, and every step may be repeated. Raises SchemaError for a newer
    schema that does not serve us, and for tables of these names that are somebody else's.
    """
    name, version = product(connection)
    if version < _OLDEST[name]:
        needs = ".".join(map(str, _OLDEST[name]))
        msg = f"{name} {'.'.join(map(str, version))} is too old: Turnout needs {needs}"
        raise StoreUnavailable(msg)
    if schema_version(connection, prefix) == VERSION:
        return
    with _locked(connection, prefix):
        now = schema_version(connection, prefix)
        if now == _NONE:
            _refuse_strangers(connection, prefix)
        if now < VERSION:
            for step in schema_steps(prefix, max(now, 0)):
                run(connection, step)


@contextmanager
def _locked(connection: Connection, prefix: str) -> Iterator[None]:
    [(database,)] = run(connection, "SELECT DATABASE()")
    lock = "turnout " + sha256(f"{database}.{prefix}".encode()).hexdigest()[:32]  # at most 64
    if run(connection, "SELECT GET_LOCK(%s, %s)", (lock, _LOCK_TIMEOUT)) != [(1,)]:
        msg = f"another migration of {database}.{prefix}* has been running for {_LOCK_TIMEOUT} s"
        raise StoreBusy(msg)
    try:
        yield
    finally:
        run(connection, "SELECT RELEASE_LOCK(%s)", (lock,))


def schema_version(connection: Connection, prefix: str) -> int:
    """Return the schema's number, at most VERSION.

    It is 0 where the schema is unfinished, less where none of it is ours.
    """
    query = f"SELECT name, value FROM {prefix}meta WHERE name IN %s"  # noqa: S608
    try:
        found = dict(run(connection, query, (NUMBERS,)))
    except Error as error:
        if number_of(error) not in {_NO_TABLE, _NO_COLUMN}:
            raise
        return _NONE
    if not found:
        return 0
    number = schema_number(found, VERSION, f"the schema of the tables {prefix}*")
    if number is None:
        raise _strange(prefix + "meta")
    return number


def _refuse_strangers(connection: Connection, prefix: str) -> None:
    """Raise SchemaError when a table that we would make is there already: meta comes first."""
    names = re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", "\n".join(schema_steps(prefix)))
    query = (
        "SELECT table_name FROM information_schema.tables "
        "WHERE table_schema = DATABASE() AND table_name IN %s"
    )
    found = run(connection, query, (tuple(names),))
    if found:
        raise _strange(str(found[0][0]))


def _strange(table: str) -> SchemaError:
    return SchemaError(
        f"the table {table!r} is not Turnout's; name another prefix: mysql://.../db?prefix=jobs_"
    )


def settings(connection: Connection) -> tuple[str, tuple[str, ...]]:
    """Return what a commit survives by the server's settings, and what is wrong with those."""
    [row] = run(
        connection,
        "SELECT @@innodb_flush_log_at_trx_commit, @@log_bin, @@sync_binlog, @@binlog_format, "
        "@@read_only, @@max_allowed_packet, @@innodb_doublewrite",
    )
    flush, has_binlog, sync, form, read_only, packet, double = row
    faults = {
        f"innodb_flush_log_at_trx_commit is {flush}, not 1": flush != 1,
        f"sync_binlog is {sync}, not 1, with the binary log on": bool(has_binlog) and sync != 1,
        "innodb_doublewrite is off": str(double).upper() in {"0", "OFF"},
    }
    others = {
        "binlog_format is STATEMENT, which READ COMMITTED cannot use": bool(has_binlog)
        and form == "STATEMENT",
        "the server is read-only": str(read_only).upper() not in {"0", "OFF"},
        f"max_allowed_packet is {packet}: large jobs will be refused": packet < _SMALL_PACKET,
    }
    weak = [text for text, holds in faults.items() if holds]
    wrong = [text for text, holds in others.items() if holds]
    return "a killed process" if weak else "a power cut", (*weak, *wrong)
