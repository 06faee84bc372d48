"""Opening, lending and translating: everything about the server that is not about jobs.

The invariant: a connection that failed is never lent again, and one failure makes all idle ones
suspect, so after a restart of the server the first use fails at most once. Nothing is repeated
here: only the verbs know what may be.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import hiredis
from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.retry import Retry

from redis import exceptions as errors
from turnout.errors import ConfigError, StoreBusy, StoreError, StoreUnavailable
from turnout.store import patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from turnout.store.redis.scripts import Script

_MOST_IDLE = 8
Value = bytes | str | int | float
_pack: Callable[[tuple[Value, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment] # pyright: ignore[reportAssignmentType]


class Link:
    """One connection: commands in, answers as bytes out."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.broken = False

    def run(self, *command: Value) -> Any:
        """Send one command and return its answer."""
        return self.converse(_pack(command))

    def script(self, script: Script, *values: Value) -> Any:
        """Run a script by its hash; a server that does not know it is sent the text."""
        try:
            return self.run(b"EVALSHA", script.sha, 0, *values)
        except errors.NoScriptError:
            return self.run(b"EVAL", script.text, 0, *values)

    def several(self, *commands: tuple[Value, ...]) -> list[Any]:
        """Send commands in one trip and return their answers; the first that failed is raised."""
        patience.left()
        self.send(b"".join(map(_pack, commands)))
        answers: list[Any] = []
        failure: errors.RedisError | None = None
        for _ in commands:
            try:
                answers.append(self.answer())
            except errors.ResponseError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return answers

    def converse(self, packed: bytes) -> Any:
        """Send packed bytes and return one answer; raises StoreSlow when its time is up."""
        patience.left()
        self.send(packed)
        return self.answer()

    def send(self, packed: bytes) -> None:
        """Send packed bytes; until their answers are read the connection is not to be lent."""
        self.broken = True
        self._connection.send_packed_command([packed], check_health=False)

    def answer(self) -> Any:
        """Return the next answer."""
        try:
            found = self._connection.read_response(disable_decoding=True)
        except errors.ResponseError:
            self.broken = False
            raise
        self.broken = False
        return found

    def fileno(self) -> int:
        """Return the socket, for select."""
        return int(self._connection._sock.fileno())  # noqa: SLF001

    def can_read(self) -> bool:
        """Tell whether something has come in already."""
        return bool(self._connection.can_read(timeout=0))

    def close(self) -> None:
        """Close it; safe to repeat."""
        with suppress(errors.RedisError, OSError):
            self._connection.disconnect()


class Connections:
    """The connections of one process to one server; forks get their own."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = dict(options)
        self._class = self._options.pop("connection_class", Connection)
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._idle: deque[Link] = deque()
        self._lock = threading.Lock()

    def _check_fork(self) -> None:
        if self._pid != os.getpid():
            _inherited.append(self._idle)  # the parent's: closing them would end its sessions
            self._reset()

    @contextmanager
    def lend(self) -> Iterator[Link]:
        """Lend a connection; errors of the driver come out as StoreErrors."""
        self._check_fork()
        try:
            link = self._idle.pop()
        except IndexError:
            link = self.open()
        try:
            with translated():
                yield link
        except StoreUnavailable:
            # Its server may have become somebody's replica: the address leads to another by now.
            link.broken = True
            self.close()
            raise
        finally:
            self._take_back(link)

    def open(self) -> Link:
        """Open one more connection, which the caller closes."""
        with translated():
            connection = self._class(
                **self._options, protocol=2, retry=Retry(NoBackoff(), 0), client_name="turnout"
            )
            connection.connect()
            return Link(connection)

    def _take_back(self, link: Link) -> None:
        if link.broken or len(self._idle) >= _MOST_IDLE:
            link.close()
        else:
            self._idle.append(link)

    def close(self) -> None:
        """Close what is not lent at the moment."""
        self._check_fork()
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()


_inherited: list[object] = []


@contextmanager
def translated() -> Iterator[None]:
    """Turn redis-py's errors into ours, which say what to do."""
    try:
        yield
    except (errors.RedisError, OSError, hiredis.HiredisError) as error:
        raise translate(error) from error


_ADVICE: tuple[tuple[str, str], ...] = (
    ("OOM", "its memory is full (maxmemory); nothing was recorded: drain it or raise maxmemory"),
    ("READONLY", "it is a read-only replica: give the primary's address"),
    ("LOADING", "it is still loading its data; it will be there in a moment"),
    ("MASTERDOWN", "it is a replica that has lost its primary: give the primary's address"),
    ("MISCONF", "it cannot write its snapshot and refuses changes: look at its log and its disk"),
    ("NOREPLICAS", "it has fewer replicas than min-replicas-to-write demands"),
    ("CLUSTERDOWN", "it is a cluster, which Turnout does not speak to: give a single server"),
    ("MOVED", "it is a cluster, which Turnout does not speak to: give a single server"),
)  # fmt: skip
_REFUSED = ("NOAUTH", "WRONGPASS", "invalid username-password", "Client sent AUTH", "DB index")


def translate(error: Exception) -> StoreError | ConfigError:
    """Return the error of ours that says what an error of the driver means."""
    text = " ".join(str(error).split())
    if isinstance(error, errors.AuthenticationError) or any(word in text for word in _REFUSED):
        msg = f"Redis refused the user, the password or the database of the store URL: {text}"
        return ConfigError(msg)
    code = text.split(" ", 1)[0]
    for word, advice in _ADVICE:
        if code == word or f"{word} " in text[:80] or isinstance(error, _CLASSES.get(word, ())):
            return StoreUnavailable(f"Redis cannot be used: {advice} ({text})")
    if isinstance(error, errors.NoPermissionError):
        msg = f"Redis refused a command: the user lacks a permission, grant it by ACL ({text})"
        return StoreUnavailable(msg)
    if "BUSY" in text[:8]:
        return StoreBusy(f"Redis is busy with somebody's script: {text}; it may be tried again")
    if isinstance(error, errors.ResponseError):
        return StoreError(f"Redis refused: {text}")
    return StoreUnavailable(f"Redis cannot be reached: {text or type(error).__name__}")


_CLASSES: dict[str, type[Exception]] = {
    "OOM": errors.OutOfMemoryError,
    "READONLY": errors.ReadOnlyError,
    "LOADING": errors.BusyLoadingError,
}
