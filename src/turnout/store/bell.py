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
from collections.abc import Iterable

POLL = 0.1


class Bell:
    """One worker's socket: `port` goes into its row, `wait` sleeps on it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    def wait(self, timeout: float) -> bool:
        """Sleep until it rings or `timeout` seconds passed; rings that piled up count as one."""
        readable, _, _ = select.select([self._socket], [], [], max(timeout, 0))
        if readable:
            self._drain()
        return bool(readable)

    def _drain(self) -> None:
        try:
            while True:
                self._socket.recv(16)
        except OSError:
            return

    def __del__(self) -> None:
        # Closed by whoever lets go of it last: a thread may still sleep on it when it is retired.
        self._socket.close()


def ring(ports: Iterable[int]) -> None:
    """Wake the workers that sleep at these ports; never raises, never blocks."""
    for port in ports:
        try:
            _ringer().sendto(b"!", ("127.0.0.1", port))
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
