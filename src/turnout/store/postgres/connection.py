"""Opening, lending and translating: everything about PostgreSQL that is not about jobs.

The invariant: a connection that failed is never lent again, and one failure makes all idle ones
suspect. So after a restart of the server the first use fails at most once, and the next one
connects anew at once. (A pool that reconnects by itself backs off for minutes: workers would stay
deaf after the server is back.)
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors
from psycopg.types.string import TextLoader

from turnout.errors import StoreBusy, StoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        try:
            with translated():
                yield connection
        except StoreUnavailable:
            self._drop_idle()
            raise
        finally:
            self._take_back(connection)

    def open(self) -> Connection:
        """Open one more connection, which the caller closes."""
        with translated():
            connection = psycopg.connect(self._conninfo, autocommit=True, **_SETTINGS)
            connection.adapters.register_loader("uuid", _UuidText)
            return connection

    def _take_back(self, connection: Connection) -> None:
        idle = psycopg.pq.TransactionStatus.IDLE
        status = connection.info.transaction_status
        if connection.closed or status != idle or len(self._idle) >= _MOST_IDLE:
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


_BUSY = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)
_AWAY = (
    psycopg.InterfaceError,
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.TooManyConnections,
    errors.IdleInTransactionSessionTimeout,
    errors.QueryCanceled,
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
