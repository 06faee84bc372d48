"""How much memory the workers take, and how much room the store, while a run lasts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from turnout.testing.chaos.fleet import memory

EVERY = 5.0  # seconds
_PART = 600.0

Samples = list[tuple[float, int]]


class Sampler:
    """Takes samples now and then, of processes and of the store."""

    def __init__(self, size: Callable[[], int]) -> None:
        self._size = size
        self._sampled = 0.0
        self._rss: dict[int, Samples] = {}
        self._rig: Samples = []
        self._sizes: Samples = []

    def sample(self, pids: Callable[[], Iterable[int]]) -> None:
        """Take one, if it is time for it."""
        now = time.monotonic()
        if now - self._sampled < EVERY:
            return
        self._sampled = now
        self._rig.append((now, memory(os.getpid()) or 0))
        for pid in pids():
            used = memory(pid)
            if used is not None:
                self._rss.setdefault(pid, []).append((now, used))
        with suppress(Exception):  # the server may be down
            self._sizes.append((now, self._size()))

    def workers(self) -> dict[str, Any]:
        """Return the worst worker, and how the one that lived longest has grown."""
        if not self._rss:
            return {}
        longest = max(self._rss.values(), key=lambda seen: seen[-1][0] - seen[0][0])
        return {
            "most_bytes": max(most(seen) for seen in self._rss.values()),
            "longest_lived_seconds": round(longest[-1][0] - longest[0][0], 1),
            "its_first_bytes": longest[0][1],
            "its_last_bytes": longest[-1][1],
            "its_most_every_ten_minutes": every_ten_minutes(longest),
        }

    def store(self) -> dict[str, Any]:
        """Return how large the store was."""
        return {
            "most": most(self._sizes),
            "most_every_ten_minutes": every_ten_minutes(self._sizes),
        }

    @property
    def rig(self) -> int:
        """The most that the rig itself took."""
        return most(self._rig)

    @property
    def largest(self) -> int:
        """The largest worker as it last was."""
        return max((seen[-1][1] for seen in self._rss.values()), default=0)


def most(seen: Samples) -> int:
    """Return the largest sample."""
    return max((value for _, value in seen), default=0)


def every_ten_minutes(seen: Samples) -> list[int]:
    """Return the largest sample of each ten minutes since the first."""
    parts: dict[int, int] = {}
    for at, value in seen:
        part = int((at - seen[0][0]) / _PART)
        parts[part] = max(parts.get(part, 0), value)
    return list(parts.values())
