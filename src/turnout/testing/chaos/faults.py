"""What was done, and to whom: pure values, and a way to those that were near a moment.

A long run has thousands of faults and a million attempts: who asks what explains one of these must
not look through all of those.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

GRACEFUL = frozenset({"terminate", "roll"})  # orderly stops


class Fault(msgspec.Struct, frozen=True):
    """Something that was done, from `began` to `ended`; without `pids`, to everybody."""

    began: float
    ended: float
    kind: str
    pids: frozenset[int] = frozenset()

    def touches(self, pid: int) -> bool:
        """Tell whether it was done to this process, or to everybody."""
        return not self.pids or pid in self.pids


class Faults:
    """All faults of a run, by the time at which they began."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._all = sorted(faults, key=_began)
        self._longest = max((fault.ended - fault.began for fault in self._all), default=0.0)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._all)

    def between(self, since: float, until: float) -> Iterator[Fault]:
        """Yield those that began by `until` and had not ended before `since`."""
        at = bisect_left(self._all, since - self._longest, key=_began)
        while at < len(self._all) and self._all[at].began <= until:
            if self._all[at].ended >= since:
                yield self._all[at]
            at += 1


def _began(fault: Fault) -> float:
    return fault.began
