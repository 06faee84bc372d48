"""Moves the write-ahead log back into the file, by one connection of the machine at a time.

All connections have `wal_autocheckpoint` off. Whoever notices that the log has grown past `SOFT`
bytes takes a lock file and checkpoints in a thread of its own: PASSIVE, which blocks nobody and
moves nearly all; then RESTART, which holds the writers for the rest, so that the log starts over
in place. Without it a busy file's log grows and grows, and a commit that makes a file longer costs
the file system's journal too: 0.5 ms where one that overwrites takes 0.4. A log past `HARD`, left
by a long reader, is cut short. One checkpointer at a time also keeps clear of SQLite's WAL-reset
bug, which needs two.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from turnout.errors import StoreError
from turnout.store.sqlite.connection import open_connection, translated

try:
    import fcntl
except ImportError:  # Windows: no lock file, SQLite's own checkpoint lock must do
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOFT = 32 * 1024 * 1024
HARD = 4 * SOFT
_EVERY = 32  # look at the log's size once in so many commits: a look costs 2 us


class Checkpointer:
    """Watches one file's log; `committed` is called after each write."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wal = path.with_name(path.name + "-wal")
        self._lock_file = path.with_name(path.name + "-checkpoint")
        self._commits = 0
        self._busy = threading.Lock()

    def committed(self) -> None:
        """Count a commit; start a checkpoint when the log has grown enough."""
        self._commits += 1
        if self._commits % _EVERY or self.size() < SOFT or self._busy.locked():
            return
        threading.Thread(target=self.run, name="turnout-checkpoint", daemon=True).start()

    def size(self) -> int:
        """Return the log's size in bytes."""
        try:
            return self._wal.stat().st_size
        except OSError:
            return 0

    def run(self) -> None:
        """Checkpoint now, unless somebody else is at it."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            with suppress(StoreError), self._alone() as alone:
                if alone:
                    self._checkpoint()
        finally:
            self._busy.release()

    def _checkpoint(self) -> None:
        connection = open_connection(self._path, "NORMAL")
        try:
            with translated(self._path):
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                connection.execute("PRAGMA busy_timeout = 100")
                last = "TRUNCATE" if self.size() > HARD else "RESTART"
                connection.execute(f"PRAGMA wal_checkpoint({last})")
        finally:
            connection.close()

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        if fcntl is None:
            yield True
            return
        with self._lock_file.open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True
