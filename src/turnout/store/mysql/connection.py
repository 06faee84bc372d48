"""Opening, lending and translating: everything about the server that is not about jobs.

The invariant: a connection that failed is never lent again, and one failure makes all idle ones
suspect. So after a restart of the server the first use fails at most once, and the next one
connects anew at once.
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

from turnout.errors import SchemaError, StoreBusy, StoreError, StoreUnavailable
from turnout.store import patience
from turnout.store.mysql.driver import IS_C, Connection, Error, driver, number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

# READ COMMITTED: under the default, gap locks make claims deadlock with enqueues, and all is half
# as fast. A claim's ids travel through GROUP_CONCAT, which MySQL cuts at 1,024 bytes by default.
# A process that is suspended between two statements must not keep its locks from all others. MySQL
# has no word for that: there they wait for the connection's end.
_SUSPENDED = "SET /*M! SESSION idle_transaction_timeout = 3, */ @turnout = 1"
_SESSION = (
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET SESSION "
    "sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', "
    "innodb_lock_wait_timeout = 10, group_concat_max_len = 16777216"
)
# How long a statement may last. Each server skips the other's part, by these comments.
_BOUND = (
    "SET /*M! SESSION max_statement_time = {0}, */ /*!80000 SESSION max_execution_time = {1}, */ "
    "@turnout = 1"
)
_UNBOUND = _BOUND.format("DEFAULT", "DEFAULT")
_PATIENCE = 30  # seconds for an answer: a cable that was pulled must not deafen a worker
_MOST_IDLE = 8
_MULTI_STATEMENTS = 1 << 16


class Connections:
    """The connections of one process to one server; forks get their own."""

    def __init__(self, where: dict[str, Any], *, patience: int | None = _PATIENCE) -> None:
        self._where = where
        self._patience = patience
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
        """Lend a connection in autocommit; errors of the driver come out as StoreErrors.

        One whose block failed is closed: who knows in which transaction it stands.
        """
        self._check_fork()
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self.open()
        try:
            with translated():
                is_bound = _bind(connection)
                yield connection
                if is_bound:
                    run(connection, _UNBOUND)
        except BaseException as error:
            _close(connection)
            if isinstance(error, StoreUnavailable):
                self._drop_idle()
            raise
        if len(self._idle) < _MOST_IDLE:
            self._idle.append(connection)
        else:
            _close(connection)

    def open(self) -> Connection:
        """Open one more connection, which the caller closes."""
        options: dict[str, Any] = {"connect_timeout": 5, "charset": "utf8mb4", "autocommit": True}
        if self._patience is not None:
            options["read_timeout"] = options["write_timeout"] = self._patience
        if not IS_C:
            options["client_flag"] = _MULTI_STATEMENTS
        with translated():
            connection = driver.connect(**self._where, **options)
            run(connection, _SESSION)
            if self._patience is not None:
                run(connection, _SUSPENDED)
            return connection

    def _drop_idle(self) -> None:
        while self._idle:
            with suppress(IndexError):
                _close(self._idle.pop())

    def close(self) -> None:
        """Close what is not lent at the moment."""
        self._check_fork()
        self._drop_idle()


_inherited: list[object] = []


def _bind(connection: Connection) -> bool:
    """Have the server end statements that last longer than the caller waits; False: no bound."""
    seconds = patience.left()
    if seconds is None:
        return False
    run(connection, _BOUND.format(f"{seconds + 0.001:.3f}", math.ceil(seconds * 1_000)))
    return True


def _close(connection: Connection) -> None:
    with suppress(Error):
        connection.close()


def server_version(connection: Connection) -> str:
    """Return the server's version as it greeted us."""
    return str(connection.get_server_info())


def run(connection: Connection, sql: str, values: Any = None) -> list[tuple[Any, ...]]:
    """Run one or more statements; return the rows of the first that has any."""
    rows: list[tuple[Any, ...]] = []
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        while True:
            if cursor.description and not rows:
                rows = list(cursor.fetchall())
            if not cursor.nextset():
                return rows


def touched(connection: Connection, sql: str, values: Any = None) -> int:
    """Run one statement; return how many rows it touched."""
    with connection.cursor() as cursor:
        return int(cursor.execute(sql, values) or 0)


def whole(connection: Connection, work: Callable[[], T]) -> T:
    """Return what `work` returns, in one transaction, which is undone when it raises."""
    run(connection, "START TRANSACTION")
    try:
        answer = work()
        run(connection, "COMMIT")
    except BaseException:
        with suppress(Error):
            run(connection, "ROLLBACK")
        raise
    return answer


# ---- errors

NO_SAVEPOINT = 1305
_DEADLOCK, _WAITED, _TWICE, _CHANGED = 1213, 1205, 1062, 1020
_ADVICE = {
    1290: "it is read-only, as a replica is: give the primary's address",
    1836: "it is read-only, as a replica is: give the primary's address",
    1792: "it is read-only: give the primary's address",
    1021: "its disk is full; nothing was changed, free some space and try again",
    1114: "its disk is full; nothing was changed, free some space and try again",
    1044: "the user may not use this database; grant it",
    1045: "the user name or the password is wrong",
    1049: "this database does not exist; create it, or correct the URL",
    1142: "the user lacks a privilege; grant it, or run `turnout migrate` as another user",
    1370: "the user may not call our procedures; grant EXECUTE on the database",
    1040: "it has too many connections; raise max_connections, or use fewer",
    1203: "this user has too many connections; raise max_user_connections, or use fewer",
    1153: "a statement was larger than its max_allowed_packet; raise that",
}
_STOPPED = {1969, 3024}
_GONE = {1146: "tables", 1305: "procedures"}
_CLIENT = range(2000, 3000)  # the client library's own
_AWAY = {1053, 1077, 1079, 1080, 1158, 1159, 1160, 1161, 1184, 1317, 1927, 3032, 4031}


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into ours, which say what to do."""
    try:
        yield
    except Error as error:
        raise translate(error) from error


def translate(error: Exception) -> StoreError:
    """Return the error of ours that says what the driver's means."""
    number = number_of(error)
    text = f"{number}: {error.args[1]}" if len(error.args) > 1 else str(error)
    if number in _ADVICE:
        return StoreUnavailable(f"MySQL cannot be used: {_ADVICE[number]} ({text})")
    if number in _GONE:
        return SchemaError(f"MySQL has lost our {_GONE[number]}: run `turnout migrate` ({text})")
    if number in {_DEADLOCK, _WAITED, _TWICE, _CHANGED}:
        return StoreBusy(f"MySQL gave up waiting for others ({text}); it may be tried again")
    if number in _STOPPED:
        return StoreBusy(f"MySQL stopped a statement that lasted too long ({text})")
    is_client = not number or number in _CLIENT
    if is_client or number in _AWAY or isinstance(error, driver.InterfaceError):
        return StoreUnavailable(f"MySQL cannot be reached: {text}")
    return StoreError(f"MySQL refused: {text}")


def retried(connection: Connection, work: Callable[[], T], *, seconds: float = 10.0) -> T:
    """Do `work`, one transaction, again when it met others: a deadlock, a lock, the same new row.

    The pauses grow with chance in them. Raises StoreBusy when it never went through.
    """
    deadline, pause = time.monotonic() + seconds, 0.001
    while True:
        try:
            return work()
        except Error as error:
            if number_of(error) not in {_DEADLOCK, _WAITED, _TWICE, _CHANGED}:
                raise
            with suppress(Error):
                run(connection, "ROLLBACK")
            if time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(pause / 2, pause))
        pause = min(pause * 2, 0.1)
