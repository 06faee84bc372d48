"""What was settled lately without waiting for the disk, so that it can be settled again.

A server that crashes forgets the last commits that nobody waited for: at most three times its
`wal_writer_delay`, 0.6 s. A forgotten settle leaves a lease that names a job as running here, under
an epoch that lives on; nothing would ever end it. So after every failure the settles of the last
`KEPT` seconds are sent once more: those that were kept find no lease and change nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from turnout.job import Outcome

KEPT = 1.0


class Recent:
    """The settles of one process within the last second before a failure."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._settled: deque[tuple[float, str, Iterable[Outcome]]] = deque()
        self._doubtful: list[tuple[str, Iterable[Outcome]]] = []

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

    def doubtful(self, epoch: str) -> list[Outcome]:
        """Take the outcomes of an epoch that must be sent once more; those of others are over."""
        if not self._doubtful:
            return []
        with self._lock:
            found, self._doubtful = self._doubtful, []
        return [outcome for held, batch in found if held == epoch for outcome in batch]
