"""What a worker, its nursery and its child processes say to each other, and how it travels.

Messages are msgspec values in MessagePack, each behind its length in four bytes, over a socket pair
that nobody else can reach. Nothing is pickled, no name is looked up but a registered task's.

    worker  -> nursery   Spawn, Kill           nursery -> worker   Born (with two handles), Unborn,
                                                                   Died
    worker  -> child     Run, Tell, Show       child   -> worker   Ended, Shown

The nursery and the children block on their ends. The worker never does: it posts, and reads what
has come.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections import deque
from typing import Any, Literal

import msgspec

from turnout.errors import IsolatedError
from turnout.failure import describe
from turnout.job import JobId, LeasedJob, Outcome, State

Flag = Literal["cancelled", "lost", "stopping", "interrupt"]
_LENGTH = struct.Struct(">I")
_MOST_READ = 262_144
_MOST_HANDLES = 8


class Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Anything that travels."""


class Spawn(Message, frozen=True):
    """Fork one more child."""


class Kill(Message, frozen=True):
    """Kill a child, unless it has been buried already."""

    pid: int


class Born(Message, frozen=True):
    """A child lives; its channel and the end of its stderr come with this."""

    pid: int


class Unborn(Message, frozen=True):
    """A fork failed: no process or no memory is left."""

    why: str


class Died(Message, frozen=True):
    """A child was buried: exit code (negative: signal), peak memory in bytes."""

    pid: int
    code: int
    memory: int


class Run(Message, frozen=True):
    """Run one attempt at a job that was leased under `epoch`."""

    job: LeasedJob
    epoch: str
    started_at: float


class Tell(Message, frozen=True):
    """Tell the running job something: a flag of its `current_job()`, or to end now."""

    flag: Flag


class Show(Message, frozen=True):
    """Tell where the running job stands, if one runs."""


class Shown(Message, frozen=True):
    """Where a job stands: its calls, the innermost last."""

    job: JobId
    stack: str


class Ended(Message, frozen=True):
    """How an attempt ended. `leaving`: the child takes no further job."""

    state: State
    started_at: float
    finished_at: float
    attempt: int
    run_at: float | None
    trail: str | None
    error: str | None
    reason: str | None
    result: str | None
    keep: float
    settled: bool
    said: str | None
    leaving: bool

    @classmethod
    def of(cls, outcome: Outcome, *, leaving: bool) -> Ended:
        """Return what travels of an outcome: all but the job, and the exception's message only."""
        error = outcome.exception
        same: dict[str, Any] = {name: getattr(outcome, name) for name in _SAME}
        said = None if error is None else describe(error)[1]
        return cls(**same, said=said, leaving=leaving)

    def outcome(self, job: LeasedJob) -> Outcome:
        """Return the outcome again, for the job that was sent."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in _SAME}
        if self.said is not None:
            fields["exception"] = IsolatedError(self.said, self.error or "")
        return Outcome(job=job, **fields)


_SAME = Ended.__struct_fields__[:-2]  # what an outcome has under the same names
_Any = Spawn | Kill | Born | Unborn | Died | Run | Tell | Show | Ended | Shown
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Any).decode


class Wire:
    """One end: whole messages in, whole messages out."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.handles: deque[int] = deque()  # that came with messages, in their order
        self._lock = threading.Lock()
        self._read = bytearray()
        self._unsent = bytearray()

    def fileno(self) -> int:
        """Return the socket's handle, for select."""
        return self.end.fileno()

    # ---- blocking, for the nursery and the children

    def send(self, message: Message, *handles: int) -> None:
        """Send a message whole; raises OSError when the other end is gone."""
        frame = _framed(message)
        with self._lock:
            sent = socket.send_fds(self.end, [frame], handles) if handles else 0
            self.end.sendall(frame[sent:])

    def receive(self) -> list[_Any] | None:
        """Wait for messages; None when the other end is gone."""
        while not (found := self._whole()):
            try:
                data = self.end.recv(_MOST_READ)
            except OSError:
                return None
            if not data:
                return None
            self._read += data
        return found

    # ---- never blocking, for the worker

    @property
    def wants_out(self) -> bool:
        """True while something posted has not left yet."""
        return bool(self._unsent)

    def post(self, message: Message) -> None:
        """Send what the socket takes now, and keep the rest for `flush`."""
        self._unsent += _framed(message)
        self.flush()

    def flush(self) -> None:
        """Send on; what was meant for an end that is gone is dropped, its death is told anyway."""
        try:
            sent = self.end.send(self._unsent) if self._unsent else 0
            del self._unsent[:sent]
        except BlockingIOError:
            return
        except OSError:
            self._unsent.clear()

    def feed(self) -> tuple[list[_Any], bool]:
        """Return the messages that have come, and whether the other end still lives."""
        alive = True
        try:
            data, handles, _, _ = socket.recv_fds(self.end, _MOST_READ, _MOST_HANDLES)
            for handle in handles:
                os.set_inheritable(handle, False)  # programs that a task starts have no use for it
                self.handles.append(handle)
            self._read += data
            alive = bool(data)
        except BlockingIOError:
            pass
        except OSError:
            alive = False
        return self._whole(), alive

    def _whole(self) -> list[_Any]:
        found: list[_Any] = []
        while len(self._read) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._read)[0]
            if len(self._read) < end:
                break
            found.append(_decode(self._read[_LENGTH.size : end]))
            del self._read[:end]
        return found

    def close(self) -> None:
        """Close this end, and the handles that nobody took."""
        self.end.close()
        while self.handles:
            os.close(self.handles.popleft())


def _framed(message: Message) -> bytes:
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body
