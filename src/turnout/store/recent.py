"""What was settled lately without waiting for the disk, so that it can be settled again.

A server that crashes forgets the last commits that nobody waited for: PostgreSQL at most three
times its `wal_writer_delay`, 0.6 s; Redis with `everysec` up to two seconds, when its disk stalls.
A forgotten settle leaves a lease that names a job as running here, under an epoch that lives on;
nothing would ever end it. So after every failure, whichever call met it, the settles of the last
`KEPT` seconds are sent once more: those that were kept find no lease and change nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from turnout.job import Outcome

KEPT = 3.0


class Recent:
    """The settles of one process within the last seconds before a failure."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._settled: deque[tuple[float, str, Iterable[Outcome]]] = deque()
        self._doubtful: deque[tuple[str, Iterable[Outcome]]] = deque()

    def keep(self, epoch: str, outcomes: Iterable[Outcome]) -> None:
        """Remember a batch that was settled just now."""
        now = time.monotonic()
        with self._lock:
            self._settled.append((now, epoch, outcomes))
            while self._settled[0][0] < now - KEPT:
                self._settled.popleft()

    def doubt(self) -> None:
        """The server failed: what was settled lately may be forgotten."""
        with self._lock:
            self._doubtful += [(epoch, outcomes) for _, epoch, outcomes in self._settled]
            self._settled.clear()

    def resend(self, epoch: str, send: Callable[[list[Outcome]], object]) -> None:
        """Send the doubtful batches of an epoch once more; those of others are over.

        What cannot be sent stays doubtful; what was sent may be forgotten by the next crash.
        """
        while (batch := self._next(epoch)) is not None:
            try:
                send(list(batch))
            except BaseException:
                with self._lock:
                    self._doubtful.appendleft((epoch, batch))
                raise
            self.keep(epoch, batch)

    def _next(self, epoch: str) -> Iterable[Outcome] | None:
        if not self._doubtful:
            return None
        with self._lock:
            while self._doubtful:
                held, batch = self._doubtful.popleft()
                if held == epoch:
                    return batch
        return None
