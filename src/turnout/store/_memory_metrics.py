"""The metrics of the memory store: rows by step, time, task and queue."""

from __future__ import annotations

from collections.abc import Sequence

from turnout.metrics import KEPT, Measured, by_step, check_rows
from turnout.store.measuring import SOURCES_KEPT, Pair, Slot, bounded, check_step


class MemoryMetrics:
    """All metrics of one store; the caller keeps it to one thread at a time."""

    def __init__(self) -> None:
        self._slots: dict[Slot, dict[Pair, Measured]] = {}
        self._sources: dict[str, tuple[int, float]] = {}

    def record(self, source: str, number: int, rows: Sequence[Measured], now: float) -> None:
        """Add rows, unless this number of this source was; see the protocol."""
        check_rows(rows)
        if self._sources.get(source, (number - 1, now))[0] >= number:
            return
        self._sources[source] = (number, now)
        for slot, added in by_step(rows, now).items():
            known = self._slots.setdefault(slot, {})
            for pair, row in bounded(added, known).items():
                task, queue = pair
                new = Measured(at=slot[1], task=task, queue=queue)
                known[pair] = known.get(pair, new).plus(row)

    def read(self, step: int, since: float, task: str | None) -> list[Measured]:
        """Return rows of one step of time, in order."""
        check_step(step)
        return [
            row
            for (its_step, at), rows in sorted(self._slots.items())
            if its_step == step and at >= int(since)
            for _, row in sorted(rows.items())
            if task in (None, row.task)
        ]

    def prune(self, now: float) -> None:
        """Forget what is past its keeping."""
        for slot in [one for one in self._slots if one[0] and one[1] < int(now - KEPT[one[0]])]:
            del self._slots[slot]
        for source, (_, seen) in list(self._sources.items()):
            if seen < now - SOURCES_KEPT:
                del self._sources[source]
