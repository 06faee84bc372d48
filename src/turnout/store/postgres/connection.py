"""Opening, lending and translating: everything about PostgreSQL that is not about jobs.

The invariant: a connection that failed is never lent again, and one failure makes all idle ones
suspect. So after a restart of the server the first use fails at most once, and the next one
connects anew at once. (A pool that reconnects by itself backs off for minutes: workers would stay
deaf after the server is back.)
"""

from __future__ import annotations

import math
import os
import random
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.types.string import TextLoader

from turnout.errors import StoreBusy, StoreError, StoreUnavailable
from turnout.store import patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
Connection = psycopg.Connection[tuple[Any, ...]]

_SETTINGS: dict[str, Any] = {
    "connect_timeout": 5,
    "application_name": "turnout",
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds: a cable that was pulled must not deafen a worker
}
_MOST_IDLE = 8
_IN_NO_TRANSACTION = psycopg.pq.TransactionStatus.IDLE
_TRIES = 4


class _UuidText(TextLoader):
    """Ids stay text, as everywhere else."""


class Connections:
    """The connections of one process to one server; forks get their own."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._idle: deque[Connection] = deque()
        self._lock = threading.Lock()

    def _check_fork(self) -> None:
        if self._pid != os.getpid():
            _inherited.append(self._idle)  # the parent's: closing them would end its sessions
            self._reset()

    @contextmanager
    def lend(self) -> Iterator[Connection]:
        """Lend a connection in autocommit; errors of the driver come out as StoreErrors."""
        self._check_fork()
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self.open()
        is_bound = False
        try:
            with translated():
                is_bound = _bind(connection)
                yield connection
                is_bound = is_bound and not _unbind(connection)
        except StoreUnavailable:
            self._drop_idle()
            raise
        finally:
            if is_bound:
                _close(connection)  # the bound was this block's alone
            self._take_back(connection)

    def open(self) -> Connection:
        """Open one more connection, which the caller closes."""
        with translated():
            connection = psycopg.connect(self._conninfo, autocommit=True, **_SETTINGS)
            connection.adapters.register_loader("uuid", _UuidText)
            try:
                _prepare(connection)
            except BaseException:
                _close(connection)
                raise
            return connection

    def _take_back(self, connection: Connection) -> None:
        status = connection.pgconn.transaction_status  # UNKNOWN when it is closed
        if status != _IN_NO_TRANSACTION or len(self._idle) >= _MOST_IDLE:
            _close(connection)
        else:
            self._idle.append(connection)

    def _drop_idle(self) -> None:
        while self._idle:
            with suppress(IndexError):
                _close(self._idle.pop())

    def close(self) -> None:
        """Close what is not lent at the moment."""
        self._check_fork()
        self._drop_idle()


_inherited: list[object] = []


def _prepare(connection: Connection) -> None:
    """Make a new connection what our statements take for granted.

    A pooler between us and the server invents the process id that it told us. One that pools
    transactions hands each statement to another session: nothing may be prepared in one, nor set.
    """
    row = connection.execute(
        "SELECT pg_backend_pid(), current_setting('default_transaction_isolation')"
    ).fetchone()
    process, isolation = row or (0, "")
    if process != connection.info.backend_pid:
        connection.prepare_threshold = None
        return
    if isolation != "read committed":
        # Each verb is right at this level. At a higher one, which a role or a database may have as
        # its default, claims that meet would fail where they now step aside.
        connection.execute("SET default_transaction_isolation = 'read committed'")
    # A process that is suspended between two statements must not keep its locks from all others.
    connection.execute("SET idle_in_transaction_session_timeout = '3s'")


def _bind(connection: Connection) -> bool:
    """Have the server end statements that last longer than the caller waits; False: no bound.

    Not through a pooler: it would leave the setting in a session of somebody else's.
    """
    seconds = patience.left()
    if seconds is None or connection.prepare_threshold is None:
        return False
    milliseconds = str(math.ceil(seconds * 1_000))
    connection.execute("SELECT set_config('statement_timeout', %s, false)", [milliseconds])
    return True


def _unbind(connection: Connection) -> bool:
    connection.execute("RESET statement_timeout")  # to what the role or the URL says
    return True


def _close(connection: Connection) -> None:
    with suppress(psycopg.Error):
        connection.close()


@contextmanager
def translated() -> Iterator[None]:
    """Turn psycopg's errors into ours, which say what to do."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error) from error


_UNDONE = (errors.DeadlockDetected, errors.SerializationFailure)
_BUSY = (*_UNDONE, errors.LockNotAvailable, errors.QueryCanceled)
_AWAY = (
    psycopg.InterfaceError,
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.TooManyConnections,
    errors.IdleInTransactionSessionTimeout,
)
_ADVICE: dict[type[psycopg.Error], str] = {
    errors.ReadOnlySqlTransaction: "it is read-only, as a standby is: give the primary's address",
    errors.DiskFull: "its disk is full; nothing was changed, free some space and try again",
    errors.InsufficientPrivilege: "the user lacks a privilege; grant it, or run `turnout migrate` "
    "as the owner of the schema",
    errors.InvalidCatalogName: "this database does not exist; create it, or correct the URL",
    errors.InvalidPassword: "the user name or the password is wrong",
    errors.UndefinedTable: "its tables are gone; run `turnout migrate`",
    errors.UndefinedFunction: "its functions are gone; run `turnout migrate`",
}


def translate(error: psycopg.Error) -> StoreError:
    """Return the error of ours that says what a psycopg error means."""
    text = " ".join(str(error).split())
    for kind, advice in _ADVICE.items():
        if isinstance(error, kind):
            return StoreUnavailable(f"PostgreSQL cannot be used: {advice} ({text})")
    if isinstance(error, _BUSY):
        return StoreBusy(f"PostgreSQL gave up waiting for others: {text}; it may be tried again")
    if isinstance(error, _AWAY) or (
        isinstance(error, psycopg.OperationalError) and not error.sqlstate
    ):
        return StoreUnavailable(f"PostgreSQL cannot be reached: {text}")
    if (error.sqlstate or "").startswith(("08", "57", "53")):
        return StoreUnavailable(f"PostgreSQL cannot be used now: {text}")
    return StoreError(f"PostgreSQL refused: {text}")


def repeated(transaction: Callable[[], T]) -> T:
    """Run a whole transaction; again when the server undid it to let another one through."""
    for attempt in range(1, _TRIES):
        try:
            return transaction()
        except StoreBusy as error:
            if not isinstance(error.__cause__, _UNDONE):
                raise
            time.sleep(random.uniform(0, 0.01 * 2**attempt))
    return transaction()
