"""What is looked at before a file is trusted: its file system, its schema, the linked SQLite."""

from __future__ import annotations

import os
import sqlite3
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turnout.errors import SchemaError, StoreUnavailable
from turnout.store.sqlite.busy import retried
from turnout.store.versions import NUMBERS, schema_number

if TYPE_CHECKING:
    from collections.abc import Callable

    Execute = Callable[..., Any]

_FILES = resources.files("turnout.store.sqlite")
MIGRATIONS = [
    _FILES.joinpath(name).read_text("utf-8")
    for name in ("001_initial.sql", "002_marks.sql", "003_metrics.sql")
]
SCHEMA = "\n".join(MIGRATIONS)
VERSION = len(MIGRATIONS)
_OLDEST = (3, 35, 0)
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "glusterfs"}


def refuse_network(path: Path) -> None:
    """Raise StoreUnavailable on a network file system, where WAL's shared memory cannot work."""
    kind = file_system(path)
    if kind in _NETWORK or kind.startswith("fuse.gluster"):
        msg = (
            f"{path} lies on a network file system ({kind}): SQLite's write-ahead log needs shared "
            "memory between processes, which such file systems do not give; use a local disk, or "
            "another store"
        )
        raise StoreUnavailable(msg)


def file_system(path: Path, mounts: str = "/proc/mounts") -> str:
    """Return the type of the file system that holds `path`, or "" where that cannot be told."""
    try:
        lines = Path(mounts).read_text("utf-8").splitlines()
    except OSError:
        return ""
    folder = os.path.realpath(path.parent)
    best, kind = "", ""
    for line in lines:
        _device, mount, found, *_ = line.split()
        inside = folder == mount or folder.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, found
    return kind


def warnings(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> tuple[str, ...]:
    """Return what is wrong with the linked SQLite, in words."""
    if not has_wal_reset_bug(version):
        return ()
    name = ".".join(map(str, version))
    return (
        (
            f"SQLite {name} has the WAL-reset bug (fixed in 3.51.3, 3.50.7 and 3.44.6): two "
            "programs that checkpoint at the same moment can lose commits. Turnout lets one "
            "connection checkpoint at a time; see that nothing else does, or update SQLite"
        ),
    )


def has_wal_reset_bug(version: tuple[int, ...]) -> bool:
    """True for 3.7.0 to 3.51.2, but for the two branches that got the fix."""
    if version[:2] == (3, 44):
        return version < (3, 44, 6)
    if version[:2] == (3, 50):
        return version < (3, 50, 7)
    return (3, 7, 0) <= version < (3, 51, 3)


def schema_version(execute: Execute) -> int:
    """Return the schema's number, at most VERSION; 0 where there is none of ours.

    Raises SchemaError for a newer one that does not serve us, and for tables of our names that are
    not ours; StoreUnavailable where SQLite itself is too old.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        msg = f"SQLite {sqlite3.sqlite_version} is too old: Turnout needs 3.35 or later"
        raise StoreUnavailable(msg)
    tables = {
        row[0]
        for row in execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'turnout_*'"
        )
    }
    if not tables:
        return 0
    found = _meta(execute) if "turnout_meta" in tables else {}
    number = schema_number(found, VERSION, "the file's schema")
    if number is None:
        msg = "the file has tables named turnout_... that Turnout did not make; give another file"
        raise SchemaError(msg)
    return number


def _meta(execute: Execute) -> dict[str, object]:
    try:
        return dict(execute("SELECT key, value FROM turnout_meta WHERE key IN (?, ?)", NUMBERS))
    except sqlite3.OperationalError:  # no such column: a table of somebody else
        return {}


def is_current(connection: sqlite3.Connection) -> bool:
    """True when the schema has number VERSION; it reads, and waits for no writer."""
    return schema_version(connection.execute) == VERSION


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema to VERSION; safe to repeat and to race."""
    retried(lambda: connection.execute("BEGIN IMMEDIATE"))
    try:
        migrate_within(connection.execute)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def migrate_within(execute: Execute) -> None:
    """Bring the schema to VERSION in an open transaction, with which it stays or goes."""
    for script in MIGRATIONS[schema_version(execute) :]:
        for statement in _statements(script):
            execute(statement)


def _statements(script: str) -> list[str]:
    # executescript() would commit first, and so break the migration's atomicity.
    lines = [line.split("--")[0] for line in script.splitlines()]
    return [part for part in "\n".join(lines).split(";") if part.strip()]
