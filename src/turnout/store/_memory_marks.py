"""The marks of the memory store: rows by key and owner, forgotten when they expire.

Invariant: what `mark` answers counts no mark whose time has passed at its `now`.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from turnout.limits.marks import Held, Mark, Marked, View, by_owner, check_marks


class MemoryMarks:
    """All marks of one store; the caller keeps it to one thread at a time."""

    def __init__(self) -> None:
        self._keys: dict[str, dict[str, Held]] = {}
        self._ends: list[tuple[float, str, str]] = []  # of every mark ever kept, renewed ones too

    def mark(self, marks: Sequence[Mark], now: float) -> list[Marked]:
        """Judge and keep marks; see the protocol. Raises ConfigError for impossible ones."""
        check_marks(marks)
        self._expire(now)
        return by_owner(marks, self._view, self._keep, now)

    def unmark(self, marks: Sequence[tuple[str, str]]) -> int:
        """Drop marks given as (key, owner); return how many there were."""
        return sum(self._drop(key, owner) for key, owner in marks)

    def _view(self, mark: Mark) -> View:
        owners = self._keys.get(mark.key, {})
        live = len(owners)
        is_full = 0 < mark.most <= live
        return View(
            live=live,
            latest=max((held.until for held in owners.values()), default=None)
            if mark.chained
            else None,
            frees_at=sorted(held.until for held in owners.values())[live - mark.most]
            if is_full
            else None,
            own=owners.get(mark.owner),
        )

    def _keep(self, mark: Mark, held: Held) -> None:
        self._keys.setdefault(mark.key, {})[mark.owner] = held
        heapq.heappush(self._ends, (held.until, mark.key, mark.owner))

    def _expire(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            until, key, owner = heapq.heappop(self._ends)
            held = self._keys.get(key, {}).get(owner)
            if held is not None and held.until <= until:  # a renewed one has a later end
                self._drop(key, owner)

    def _drop(self, key: str, owner: str) -> bool:
        owners = self._keys.get(key, {})
        if owners.pop(owner, None) is None:
            return False
        if not owners:
            del self._keys[key]
        return True
