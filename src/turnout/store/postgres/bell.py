"""Wake-up by LISTEN and NOTIFY: one listening connection a process, polling where there is none.

A commit that notifies takes a lock of the whole cluster while it is flushed, so nobody notifies
without need: a worker says in its row that it sleeps, and enqueues notify only then, after their
commit and at most every `GAP` seconds.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg

from turnout.errors import StoreError

if TYPE_CHECKING:
    from turnout.store.postgres.connection import Connection, Connections

POLL = 0.2
GAP = 0.003
ORDER = "order"  # the payload that is for busy workers too
_TRY = 5.0  # seconds between a busy worker's tries to listen


class Bell:
    """Where the sleeping worker of this process listens."""

    def __init__(self, connections: Connections, channel: str) -> None:
        self._connections = connections
        self._channel = channel
        self.pid = os.getpid()
        self._listener: Connection | None = None
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._in_use = threading.Lock()
        self._closed = self._ordered = False
        self._try_at = 0.0

    def wait(self, seconds: float) -> bool:
        """Sleep until somebody rings or the time is over; True when a ring came."""
        with self._in_use:
            if self._closed:
                return True
            listener = self._listening()
            handles: list[Any] = [self._near, *([listener.fileno()] if listener else [])]
            readable, _, _ = select.select(handles, [], [], seconds)
            if self._near in readable:
                with suppress(BlockingIOError):
                    self._near.recv(4096)
            if listener is not None and handles[-1] in readable:
                self._read(listener)
            return bool(readable)

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
        if self._listener is None and now < self._try_at:
            return
        self._try_at = now + _TRY
        listener = None if self._closed else self._listening()
        if listener is not None and select.select([listener.fileno()], [], [], 0)[0]:
            self._read(listener)

    def ring(self) -> None:
        """Wake the sleeper from another thread of this process."""
        with suppress(OSError):
            self._far.send(b"!")

    def _listening(self) -> Connection | None:
        if self._listener is None or self._listener.closed:
            try:
                self._listener = self._connections.open()
                self._listener.execute(f'LISTEN "{self._channel}"'.encode())
            except (psycopg.Error, StoreError):
                self._drop()
        return self._listener

    def _read(self, listener: Connection) -> None:
        try:
            listener.pgconn.consume_input()
            while note := listener.pgconn.notifies():
                self._ordered |= note.extra == ORDER.encode()
        except psycopg.Error:
            self._drop()

    def _drop(self) -> None:
        if self._listener is not None:
            with suppress(psycopg.Error):
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


class Pacer:
    """Lets through one call every `GAP` seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0.0

    def is_due(self) -> bool:
        """Tell whether to notify now; whoever was refused is covered by the workers' poll."""
        now = time.monotonic()
        with self._lock:
            if now < self._next:
                return False
            self._next = now + GAP
            return True
