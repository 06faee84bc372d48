"""Wake-up by SUBSCRIBE: one listening connection a process, polling where it fails.

A worker says in `turnout:asleep` that it sleeps, and scripts ring it, by its own channel, once: a
thousand enqueues to a busy worker ring nobody, and one job wakes one worker. Ruby's enqueues do not
ring; for them a sleeper looks again every `POLL` seconds.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from turnout.errors import TurnoutError

if TYPE_CHECKING:
    from turnout.store.redis.connection import Connections, Link

POLL = 0.2
ORDER = "order"  # the message that is for busy workers too
_TRY = 5.0  # seconds between a busy worker's tries to listen


class Bell:
    """Where the sleeping worker of this process listens."""

    def __init__(self, connections: Connections, epoch: str) -> None:
        self._connections = connections
        self._channel = f"turnout:bell:{epoch}"
        self.pid = os.getpid()
        self._listener: Link | None = None
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._in_use = threading.Lock()
        self._closed = self._ordered = False
        self._try_at = 0.0

    def listen(self) -> None:
        """Make sure that a ring from now on is heard, if the server can be reached."""
        with self._in_use:
            self._subscribe()

    def _subscribe(self) -> None:
        if self._listener is None and not self._closed:
            with suppress(RedisError, OSError, TurnoutError):
                self._listener = self._subscribed(self._connections.open())

    def _subscribed(self, link: Link) -> Link:
        try:
            link.run("SUBSCRIBE", self._channel)
        except BaseException:
            link.close()
            raise
        return link

    def heard(self) -> bool:
        """Tell whether an order was rung for since the last look; never waits."""
        if self._in_use.acquire(blocking=False):  # else the sleeper hears it
            try:
                self._look()
            finally:
                self._in_use.release()
        ordered, self._ordered = self._ordered, False
        return ordered

    def _look(self) -> None:
        now = time.monotonic()
        if self._listener is None and now >= self._try_at:
            self._try_at = now + _TRY
            self._subscribe()
        if self._listener is not None and select.select([self._listener.fileno()], [], [], 0)[0]:
            self._read()

    def wait(self, seconds: float) -> bool:
        """Sleep until somebody rings or the time is over; True when a ring came."""
        with self._in_use:
            if self._closed:
                return True
            handles: list[socket.socket | int] = [self._near]
            if self._listener is not None:
                handles.append(self._listener.fileno())
            readable, _, _ = select.select(handles, [], [], seconds)
            if self._near in readable:
                with suppress(BlockingIOError):
                    self._near.recv(4096)
            if len(handles) > 1 and handles[1] in readable:
                self._read()
            return bool(readable)

    def ring(self) -> None:
        """Wake the sleeper from another thread of this process."""
        with suppress(OSError):
            self._far.send(b"!")

    def _read(self) -> None:
        assert self._listener is not None, "it was readable"  # noqa: S101
        try:
            self._take(self._listener.answer())
            while self._listener.can_read():
                self._take(self._listener.answer())
        except (RedisError, OSError):
            self._drop()

    def _take(self, message: object) -> None:
        self._ordered |= isinstance(message, list) and message[-1:] == [ORDER.encode()]

    def _drop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self._listener = None

    def close(self) -> None:
        """Stop listening; who sleeps here is woken first."""
        self._closed = True
        self.ring()
        with self._in_use:
            self._drop()
            self._near.close()
            self._far.close()


def ring_for_orders(link: Link) -> None:
    """Tell every worker to fetch its orders, the busy ones too."""
    epochs = link.run("ZRANGE", "turnout:epochs", 0, -1)
    if epochs:
        link.several(*(("PUBLISH", b"turnout:bell:" + epoch, ORDER) for epoch in epochs))
