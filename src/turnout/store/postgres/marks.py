"""How far this process has claimed lately, for each level of each queue: the low-water marks.

A claim begins behind its mark, and so never walks over what was claimed before. What may lie below
a mark (committed late, come back, put there by another process) is found by a look from the start,
every `SWEEP` seconds and whenever a short fetch allows one; what this process itself puts back
clears the marks at once.
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any

from turnout.store.postgres.base import array, text_array

if TYPE_CHECKING:
    from collections.abc import Iterable

    from turnout.job import JobId, LeasedJob

SWEEP = 2.0
SHORT_SWEEP = 0.1


class Marks:
    """The marks of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._marks: dict[tuple[str, int], tuple[float, JobId]] = {}
        self._full_at = self._short_at = 0.0
        self._age = 0

    def clear(self) -> None:
        """Look from the start next time."""
        with self._lock:
            self._marks.clear()
            self._age += 1

    def values(self) -> tuple[int, tuple[Any, ...]]:
        """Return the age of the marks, and what `exchange` binds for them."""
        now = time.monotonic()
        with self._lock:
            if now > self._full_at:
                self._full_at = now + SWEEP * random.uniform(0.75, 1.25)
                self._marks.clear()
            sweep = now > self._short_at
            if sweep:
                self._short_at = now + SHORT_SWEEP
            marks = list(self._marks.items())
            age = self._age
        return age, (
            text_array([queue for (queue, _), _ in marks]),
            array([rank for (_, rank), _ in marks]),
            array([at for _, (at, _) in marks]),
            array([job_id for _, (_, job_id) in marks]),
            sweep,
        )

    def learn(self, age: int, leased: Iterable[LeasedJob]) -> None:
        """Move the marks behind what was claimed, unless something came back meanwhile."""
        with self._lock:
            if age != self._age:
                return
            for job in leased:
                key = (job.queue, -job.priority)
                at = (job.run_at, job.id)
                if key not in self._marks or at > self._marks[key]:
                    self._marks[key] = at
