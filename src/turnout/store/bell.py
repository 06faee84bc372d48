"""The doorbell: wakes workers on this machine after a commit, without polling and without a race.

Each worker sleeps on a loopback UDP socket whose port stands in its row. Whoever commits a job
sends
one datagram to each port: lossy, unordered, no answer. It goes out after COMMIT, so the job is
visible
when the worker looks. (Watching the WAL file instead fires on the write, before the commit can be
seen: half of the wakes found nothing.) A missed ring costs at most one poll, `POLL` seconds.
"""

from __future__ import annotations

import atexit
import os
import select
import socket
import threading
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from turnout.job import WorkerInfo

POLL = 0.1
WAKE, ORDER = b"!", b"o"  # look for jobs; look for orders, also when busy


class Bell:
    """One worker's socket: `port` goes into its row, `wait` sleeps on it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._in_use = threading.Lock()
        self._ordered = False

    def wait(self, timeout: float) -> bool:
        """Sleep until it rings or `timeout` seconds passed; rings that piled up count as one."""
        with self._in_use:
            readable, _, _ = select.select([self._socket], [], [], max(timeout, 0))
            if readable:
                self._drain()
        return bool(readable)

    def heard(self) -> bool:
        """Tell whether an order was rung for since the last look; never waits."""
        if self._in_use.acquire(blocking=False):  # else the sleeper hears it
            try:
                self._drain()
            finally:
                self._in_use.release()
        ordered, self._ordered = self._ordered, False
        return ordered

    def _drain(self) -> None:
        try:
            while True:
                self._ordered |= self._socket.recv(16) == ORDER
        except OSError:
            return

    def __del__(self) -> None:
        # Closed by whoever lets go of it last: a thread may still sleep on it when it is retired.
        self._socket.close()


class Hears(Protocol):
    """A bell of any kind: it tells orders from wakes."""

    def heard(self) -> bool:
        """Tell whether an order was rung for since the last look; never waits."""
        ...


B = TypeVar("B", bound=Hears)


class Ordered(Generic[B]):
    """The half of a store that hears orders: it has a bell for each of its epochs here."""

    _bells: dict[str, B]

    def ordered(self, worker: WorkerInfo) -> bool:
        """Tell, without a round trip, whether orders may wait for this worker."""
        bell = self._bells.get(worker.epoch)
        return bell is not None and bell.heard()


def ring(ports: Iterable[int], word: bytes = WAKE) -> None:
    """Wake the workers that sleep at these ports; never raises, never blocks."""
    for port in ports:
        try:
            _ringer().sendto(word, ("127.0.0.1", port))
        except OSError:  # a full buffer means that it will wake anyway
            continue


_sender: socket.socket | None = None


def _ringer() -> socket.socket:
    # A datagram socket may be shared by threads and forks: each send is one whole message.
    global _sender  # noqa: PLW0603
    if _sender is None:
        _sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        _sender.setblocking(False)
        atexit.register(_sender.close)
    return _sender
