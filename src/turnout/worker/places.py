"""The places that a supervisor fills with worker processes, and when it may fill them again.

    empty -> filled -> (died) empty, not before its pause is over
                    -> (a successor is at work) filled by that; the old one leaves
                    -> (ended in good order) closed

How long a place stays empty: the first death costs nothing, the second and third (a poison job
takes so many) a moment, and each further one within `WINDOW` doubles the pause, up to `PAUSE_MOST`,
with jitter. Where the process had been of use before it died, it is never more than `PAUSE_USEFUL`:
the pauses are there for code that dies as it starts. A place is never given up: what kills its
processes may be gone tomorrow.
"""

from __future__ import annotations

import random
import signal
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnout.worker.board import Row

WINDOW = 300.0  # seconds for which a death is remembered
PAUSE_MOST = 30.0
PAUSE_USEFUL = 0.5
PAUSE_SECOND = 0.25
PROVEN = 10.0  # seconds of life after which its code is not what kills it at the start
LOOP = 5  # so many deaths within the window are called a crash loop


@dataclass(slots=True, eq=False)
class Child:
    """A worker process, and its row on the board."""

    pid: int
    born: float
    row: Row
    is_old: bool = False  # it runs the code of before the restart
    told: float = 0.0  # when it was told to leave
    hurried: int = 0  # 1: told to stop within its grace; 2: killed

    @property
    def is_at_work(self) -> bool:
        """True once it leases jobs."""
        return self.row.is_at_work

    def was_useful(self, now: float) -> bool:
        """Tell whether it ended a job, or lived long enough to have ended some."""
        return self.row.done > 0 or now - self.born > PROVEN


@dataclass(slots=True, eq=False)
class Place:
    """One place: who is in it, who is about to be, and how it went so far."""

    index: int
    child: Child | None = None
    successor: Child | None = None
    not_before: float = 0.0
    is_closed: bool = False
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=100))

    def died(self, now: float, rng: random.Random, *, was_useful: bool = False) -> float:
        """Note a death; return the pause that follows."""
        self._forget(now)
        self.deaths.append(now)
        pause = 0.0
        if len(self.deaths) > 1:
            most = PAUSE_USEFUL if was_useful else PAUSE_MOST
            pause = min(PAUSE_SECOND * 2.0 ** (len(self.deaths) - 2), most) * rng.uniform(0.5, 1.0)
        self.not_before = now + pause
        return pause

    def is_looping(self, now: float) -> bool:
        """Tell whether its processes die one after the other."""
        self._forget(now)
        return len(self.deaths) >= LOOP

    def _forget(self, now: float) -> None:
        while self.deaths and self.deaths[0] < now - WINDOW:
            self.deaths.popleft()

    def holds(self, child: Child) -> bool:
        """Tell whether this process is, or is about to be, here."""
        return child is self.child or child is self.successor

    def replaced(self) -> Child | None:
        """Let the successor take the place; return who was in it."""
        old, self.child, self.successor = self.child, self.successor, None
        return old


def how(code: int | None) -> str:
    """Say how a process ended, from its exit code: below zero it is a signal."""
    if code is None:
        return "exit code unknown"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
