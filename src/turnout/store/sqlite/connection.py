"""Opening, locking and translating: everything about SQLite that is not about jobs.

Connections come in two kinds. *Front* connections enqueue and serve operators: synchronous FULL,
so that what they committed survives a power cut. The one *back* connection of a process leases and
settles: synchronous NORMAL, because a settle lost in a power cut is a re-run, which at-least-once
permits. Both can be switched in the URL.

The invariant: a transaction that writes begins with BEGIN IMMEDIATE. A deferred one that reads and
then writes fails at once with BUSY_SNAPSHOT, without any waiting.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakSet

from turnout.errors import StoreBusy, StoreError, StoreUnavailable
from turnout.store import patience as bound
from turnout.store.sqlite.busy import BUSY, left, locked, retried

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

log = logging.getLogger("turnout.store")
T = TypeVar("T")

_STEPS = 10_000  # of SQLite's machine between two looks at the clock: well under 1 ms
_SYNCHRONOUS = {"full": "FULL", "normal": "NORMAL"}


class Connection(sqlite3.Connection):
    """A connection that closes itself when it is let go of."""

    def __del__(self) -> None:
        with suppress(sqlite3.ProgrammingError):  # it never was open
            self.close()


class Connections:
    """The connections of one process to one file; forks get their own."""

    def __init__(self, path: Path, *, front: str = "full", back: str = "normal") -> None:
        self.path = path
        self._modes = (_SYNCHRONOUS[front], _SYNCHRONOUS[back])
        self._reset()
        _gates.add(self)

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._file: tuple[int, int] | None = None  # device and inode of what is open
        self._idle: deque[Connection] = deque()
        self._back: Connection | None = None
        self._back_lock = threading.RLock()
        # Writers of one process queue here, not by sleeping. And a fork waits for it: a child born
        # in the middle of another thread's write inherits SQLite's table of locks, finds the write
        # lock held in its own process, and waits for ever for a thread that it does not have.
        self.gate = threading.Lock()
        self._line = threading.Lock()

    def _check_fork(self) -> None:
        if self._pid != os.getpid():
            # Closing what the parent opened would drop the parent's locks: keep it, unused.
            _inherited.append((self._idle, self._back))
            self._reset()

    def is_replaced(self) -> bool:
        """True once the path no longer leads to the file that is open: it was moved or deleted.

        The answer comes once: what is open is let go of, and the next connection opens the path.
        """
        known = self._file
        if known is None or known == _identity(self.path):
            return False
        with self._back_lock:
            if self._file is not known:
                return False
            self._file = None
            self.close()
        log.error(
            "%s was moved, deleted or replaced while it was open: jobs in the old file are not "
            "reached any more; what is at the path now is used from here on",
            self.path,
        )
        return True

    def _open(self, synchronous: str) -> Connection:
        connection = open_connection(self.path, synchronous)
        self._file = _identity(self.path)
        return connection

    @contextmanager
    def front(self) -> Iterator[Connection]:
        """Lend a connection whose commits survive a power cut."""
        is_over = bound.timer()
        self._check_fork()
        file = self._file
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._open(self._modes[0])
            file = self._file
        if is_over is not None:
            connection.set_progress_handler(is_over, _STEPS)
        try:
            yield connection
        except sqlite3.Error as error:
            raise _translate(error, self.path) from error
        finally:
            if is_over is not None:
                connection.set_progress_handler(None, 0)
            if connection.in_transaction:
                connection.rollback()
            if file == self._file:
                self._idle.append(connection)
            else:
                connection.close()

    @contextmanager
    def first_in_line(self) -> Iterator[None]:
        """Be the one thread of this process that has a task's transaction, or is about to.

        The file lets in one at a time anyway; if all of them polled for its lock, whoever else
        wants it would seldom be lucky: a heartbeat was not, for longer than a lease.
        """
        self._check_fork()
        line, patience = self._line, left()
        if not line.acquire(timeout=patience):
            raise locked(patience)
        try:
            yield
        finally:
            line.release()

    @contextmanager
    def back(self) -> Iterator[Connection]:
        """Lend the worker's own connection, one thread at a time."""
        self._check_fork()
        with self._back_lock:
            if self._back is None:
                self._back = self._open(self._modes[1])
            with translated(self.path):
                yield self._back

    def close(self) -> None:
        """Close what is not lent at the moment."""
        self._check_fork()
        while self._idle:
            self._idle.pop().close()
        with self._back_lock:
            if self._back is not None:
                self._back.close()
                self._back = None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


_inherited: list[object] = []
_gates: WeakSet[Connections] = WeakSet()
_held: list[threading.Lock] = []


def _before_fork() -> None:
    for connections in list(_gates):
        gate = connections.gate
        gate.acquire()
        _held.append(gate)


def _after_fork() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )


def open_connection(path: Path, synchronous: str) -> Connection:
    """Open one connection, in WAL mode, that leaves all transactions and checkpoints to us."""
    with translated(path):
        if not path.parent.is_dir():
            msg = f"cannot open {path}: the folder {path.parent} does not exist; create it first"
            raise StoreUnavailable(msg)
        connection = sqlite3.connect(
            path,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            factory=Connection,
            cached_statements=256,
        )
        retried(lambda: connection.execute("PRAGMA journal_mode = WAL"))
        for pragma in (
            f"synchronous = {synchronous}",
            "fullfsync = ON",
            "wal_autocheckpoint = 0",
            "cache_size = -32768",
            "temp_store = MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}")
        return connection


def write(connection: sqlite3.Connection, work: Callable[[], T]) -> T:
    """Run `work` in one write transaction: all of it is committed, or none.

    The caller holds the gate of its Connections.
    """
    retried(lambda: connection.execute("BEGIN IMMEDIATE"))
    try:
        answer = work()
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has rolled it back already
            connection.execute("ROLLBACK")
        raise
    return answer


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn sqlite3's errors into ours, which say what to do."""
    try:
        yield
    except StoreError:
        raise
    except sqlite3.Error as error:
        raise _translate(error, path) from error


_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full; nothing was changed, free some space and try again",
    sqlite3.SQLITE_READONLY: "the file or its folder is read-only here; WAL mode writes both",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; the path must be a file in a writable folder",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database; give another path, or move it away",
    sqlite3.SQLITE_CORRUPT: "it is damaged; restore a backup, or try `sqlite3 FILE .recover`",
    sqlite3.SQLITE_IOERR: "the disk reported an error; look into the system's log",
    sqlite3.SQLITE_PERM: "access was denied; check the file's owner and mode",
    sqlite3.SQLITE_AUTH: "access was denied; check the file's owner and mode",
}


def _translate(error: sqlite3.Error, path: Path) -> StoreError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in BUSY:
        return StoreBusy(f"{path} is locked by another program: {error}")
    if code == sqlite3.SQLITE_INTERRUPT:
        return StoreBusy(f"{path}: a statement was stopped; it may be tried again")
    advice = _ADVICE.get(code)
    if advice is None:
        return StoreError(f"{path}: {error}")
    return StoreUnavailable(f"cannot use {path}: {advice} ({error})")
