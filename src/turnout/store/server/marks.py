"""How far this process has claimed lately, for each level of each queue: the low-water marks.

A claim begins behind its mark, and so never walks over what was claimed before. What may lie below
a mark (committed late, come back, put there by another process) is found by a look from the start,
every `SWEEP` seconds and whenever a short fetch allows one; what this process itself puts back
clears the marks at once.

While somebody keeps an old snapshot, a look from the start walks over everything that was claimed
since: a third of a second after a million jobs. So looks that took long come more seldom, and never
take more than a share of the time.
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from turnout.job import JobId, LeasedJob

    Mark = tuple[str, int, float, JobId]  # queue, level (-priority), run_at and id of the last

SWEEP = 2.0
SHORT_SWEEP = 0.1
SHARE = 30  # a look that took a second is followed by so many without one, and
LONGEST = 30.0  # by no more than these


class Marks:
    """The marks of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._marks: dict[tuple[str, int], tuple[float, JobId]] = {}
        self._full_at = self._short_at = 0.0
        self._began = 0.0
        self._full = self._short = False  # whether the look under way is one, or may become one
        self._age = 0

    def clear(self) -> None:
        """Look from the start next time."""
        with self._lock:
            self._marks.clear()
            self._age += 1

    def look(self) -> tuple[int, list[Mark], bool]:
        """Return the age of the marks, the marks, and whether a short fetch should sweep."""
        now = time.monotonic()
        with self._lock:
            self._began = now
            self._full = now > self._full_at
            if self._full:
                self._full_at = now + SWEEP * random.uniform(0.75, 1.25)
                self._marks.clear()
            self._short = now > self._short_at
            if self._short:
                self._short_at = now + SHORT_SWEEP
            marks = [(queue, level, at, last) for (queue, level), (at, last) in self._marks.items()]
            return self._age, marks, self._short

    def learn(self, age: int, leased: Iterable[LeasedJob]) -> None:
        """Move the marks behind what was claimed, unless something came back meanwhile."""
        with self._lock:
            now = time.monotonic()
            rested = now + min((now - self._began) * SHARE, LONGEST)
            if self._full:
                self._full_at = max(self._full_at, rested)
            if self._short:
                self._short_at = max(self._short_at, rested)
            if age != self._age:
                return
            for job in leased:
                key = (job.queue, -job.priority)
                at = (job.run_at, job.id)
                if key not in self._marks or at > self._marks[key]:
                    self._marks[key] = at
