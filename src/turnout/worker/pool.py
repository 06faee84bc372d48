"""The child processes of one worker as a set: births and deaths, channels and stderr.

It knows no jobs. One thread takes turns at it; what it hears it tells its owner:

    born(child)            a child waits for work
    ended(child, message)  an attempt came to an end
    shown(message)         where the job of a child stands
    died(child, death)     a child is gone and buried; death is None when nobody saw how
    orphaned()             the nursery is gone, and all children with it: nobody can be born
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from turnout.worker.brood import Child
from turnout.worker.nursery import open_nursery
from turnout.worker.wire import Born, Died, Ended, Kill, Shown, Spawn, Unborn

if TYPE_CHECKING:
    from turnout.worker.nursery import Serve

log = logging.getLogger("turnout.worker")

_NAP = 1.0  # seconds at most between looks
_UNSENT_NAP = 0.002  # seconds to the next try at a socket that was full
_AGAIN = 1.0  # seconds to the next try after a birth that came to nothing
_AFTER_CLOSE = 5.0


class Owner(Protocol):
    """Who is told."""

    def born(self, child: Child) -> None:
        """A child waits for work."""
        ...

    def ended(self, child: Child, message: Ended) -> None:
        """An attempt came to an end."""
        ...

    def shown(self, message: Shown) -> None:
        """A child says where its job stands."""
        ...

    def died(self, child: Child, death: Died | None) -> None:
        """A child is gone; what it had sent before was told."""
        ...

    def orphaned(self) -> None:
        """No child can be born any more."""
        ...


class Pool:
    """The children, and the nursery that they come from. To be made before there are threads."""

    def __init__(self, serve: Serve, owner: Owner) -> None:
        self.children: dict[int, Child] = {}
        self._owner = owner
        self.is_closing = False  # nobody is to be born any more
        self._births: list[float] = []  # monotonic: when to ask for one more child
        self._pid, self._nursery = open_nursery(serve)
        self._inbox, self._outbox = socket.socketpair()
        for end in (self._inbox, self._outbox):
            end.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._inbox, selectors.EVENT_READ, self._on_nudge)
        self._selector.register(self._nursery, selectors.EVENT_READ, self._on_nursery)

    def nudge(self) -> None:
        """End the wait of the thread that takes turns; from any thread."""
        try:
            self._outbox.send(b"!")
        except OSError:  # full: it will wake anyway; closed: it has ended
            return

    def want(self, count: int, *, after: float = 0.0) -> None:
        """Have so many more children born, in so many seconds."""
        if not self.is_closing:
            self._births += [time.monotonic() + after] * count

    def kill(self, child: Child) -> None:
        """Have a child killed; its death is told like any other."""
        self._nursery.post(Kill(child.pid))

    def turn(self) -> None:
        """Wait until something happens or is due, and tell what it was."""
        for key, _ in self._selector.select(self._patience()):
            key.data()
        for child in self.children.values():
            child.wire.flush()
        now = time.monotonic()
        for due in [due for due in self._births if due <= now]:
            self._births.remove(due)
            self._nursery.post(Spawn())

    def _patience(self) -> float:
        if any(child.wire.wants_out for child in self.children.values()):
            return _UNSENT_NAP
        dues = [child.kill_at for child in self.children.values()] + self._births
        return min(max(min(dues, default=_NAP) - time.monotonic(), 0.0), _NAP)

    def close(self) -> None:
        """End the nursery, which kills what is left of its children; wait until it is gone."""
        self._nursery.close()
        deadline = time.monotonic() + _AFTER_CLOSE
        with suppress(ChildProcessError):  # somebody who waits for every child has buried it
            while not os.waitpid(self._pid, os.WNOHANG)[0]:
                if time.monotonic() > deadline:
                    os.kill(self._pid, signal.SIGKILL)
                time.sleep(0.005)

    def release(self) -> None:
        """Let go of every handle, once nobody takes turns any more."""
        self._selector.close()
        for child in self.children.values():
            child.close()
        self.children.clear()
        self._inbox.close()
        self._outbox.close()

    # ---- what it hears

    def _on_nudge(self) -> None:
        self._inbox.recv(4096)

    def _on_nursery(self) -> None:
        messages, alive = self._nursery.feed()
        for message in messages:
            match message:
                case Born(pid):
                    self._welcome(pid)
                case Unborn(why):
                    log.error("no child process could be started: %s", why)
                    self.want(1, after=_AGAIN)
                case Died(pid) if pid in self.children:
                    self._bury(self.children[pid], message)
                case _:
                    pass
        if not alive:
            self._selector.unregister(self._nursery)
            for child in list(self.children.values()):
                self._bury(child, None)
            self._births.clear()
            self._owner.orphaned()

    def _welcome(self, pid: int) -> None:
        handles = self._nursery.handles
        child = self.children[pid] = Child(pid, handles.popleft(), handles.popleft())
        self._selector.register(child.wire, selectors.EVENT_READ, lambda: self._on_child(child))
        self._selector.register(child.stderr, selectors.EVENT_READ, lambda: self._hear(child))
        self._owner.born(child)

    def _bury(self, child: Child, death: Died | None) -> None:
        self._on_child(child)  # what it sent before it died still counts
        self._hear(child)
        self._stop_reading(child)
        self._stop_hearing(child)
        child.close()
        del self.children[child.pid]
        if not child.is_leaving:
            # One that died before it had ended a job may do so again and again.
            self.want(1, after=0.0 if child.ran else _AGAIN)
        self._owner.died(child, death)

    def _on_child(self, child: Child) -> None:
        messages, alive = child.wire.feed() if child.is_read else ((), False)
        for message in messages:
            if isinstance(message, Ended) and child.job is not None:
                if message.leaving:
                    child.is_leaving = True
                    self.want(1)
                self._owner.ended(child, message)
            elif isinstance(message, Shown):
                self._owner.shown(message)
        if not alive:
            self._stop_reading(child)

    def _stop_reading(self, child: Child) -> None:
        if child.is_read:
            child.is_read = False
            self._selector.unregister(child.wire)

    def _hear(self, child: Child) -> None:
        try:
            said = os.read(child.stderr, 65_536) if child.is_heard else b""
        except BlockingIOError:
            return
        if not said:
            self._stop_hearing(child)
            return
        child.remember(said)
        with suppress(OSError):
            os.write(2, said)

    def _stop_hearing(self, child: Child) -> None:
        if child.is_heard:
            child.is_heard = False
            self._selector.unregister(child.stderr)
