"""The verbs `mark` and `unmark`: a statement a key, a mark and a grant, all in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout.limits.marks import Held
from turnout.store.marking import mark_in
from turnout.store.sqlite.base import Q, Turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.limits.marks import Mark, Marked
    from turnout.store.marking import Pair, Row


def mark(turn: Turn, marks: Sequence[Mark]) -> list[Marked]:
    """Judge and keep marks."""
    return mark_in(_Table(turn), marks)


def unmark(turn: Turn, marks: Sequence[Pair]) -> int:
    """Drop marks; return how many there were."""
    return sum(turn.execute(Q["mark_drop"], pair).rowcount for pair in sorted(set(marks)))


class _Table:
    """The table of marks, within one transaction."""

    def __init__(self, turn: Turn) -> None:
        self._execute = turn.execute
        self.now = turn.now

    def mark_begin(self, keys: Sequence[str]) -> dict[str, tuple[int, float]]:
        found: dict[str, tuple[int, float]] = {}
        for key in keys:
            self._execute(Q["mark_expire"], (key, self.now))
            live, latest = self._execute(Q["mark_totals"], (key,)).fetchone()
            if live:
                found[key] = (live, latest)
        return found

    def mark_held(self, pairs: Sequence[Pair]) -> dict[Pair, Held]:
        rows = ((pair, self._execute(Q["mark_held"], pair).fetchone()) for pair in pairs)
        return {pair: Held(*row) for pair, row in rows if row is not None}

    def mark_first(self, key: str, count: int) -> list[float]:
        return [row[0] for row in self._execute(Q["mark_first"], (key, count))]

    def mark_put(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._execute(Q["mark_put"], row)
