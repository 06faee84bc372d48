"""Marks in a table, for every store that has tables: what a key's rows say, in a few statements.

One call is one transaction, which locks the keys, reads what the verdicts need, and writes what was
granted. What it grants on its way counts for the marks that follow, without being read again.

Invariant: what is answered counts no mark whose time has passed.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from typing import Protocol

from turnout.limits.marks import ANY, Held, Mark, Marked, View, by_owner, check_marks

Pair = tuple[str, str]  # key, owner
Row = tuple[str, str, float, str | None]  # key, owner, until, value


class MarkTable(Protocol):
    """What an adapter does to its table, within one transaction of time `now`."""

    now: float

    def mark_begin(self, keys: Sequence[str]) -> dict[str, tuple[int, float]]:
        """Lock keys, drop their expired marks; return how many are left and the last to expire."""
        ...

    def mark_held(self, pairs: Sequence[Pair]) -> dict[Pair, Held]:
        """Return those of these marks that are there."""
        ...

    def mark_first(self, key: str, count: int) -> list[float]:
        """Return when the first marks of a key expire, at most `count` of them, in order."""
        ...

    def mark_put(self, rows: Sequence[Row]) -> None:
        """Write marks over what was there."""
        ...


def mark_in(table: MarkTable, marks: Sequence[Mark]) -> list[Marked]:
    """Judge and keep marks; see the protocol. They have been checked."""
    ledger = _Ledger(table, marks)
    answers = by_owner(marks, ledger.view, ledger.keep, table.now)
    table.mark_put([(*pair, held.until, held.value) for pair, held in ledger.granted.items()])
    return answers


def checked(marks: Iterable[Mark]) -> list[Mark]:
    """Return marks as a list; raises ConfigError for impossible ones."""
    listed = list(marks)
    check_marks(listed)
    return listed


class _Ledger:
    """The keys of one call as they stand, with what the call itself has granted."""

    def __init__(self, table: MarkTable, marks: Sequence[Mark]) -> None:
        self._table = table
        self._totals = table.mark_begin(sorted({mark.key for mark in marks}))
        self._held = table.mark_held([(mark.key, mark.owner) for mark in marks])
        self.granted: dict[Pair, Held] = {}

    def view(self, mark: Mark) -> View:
        live, latest = self._totals.get(mark.key, (0, None))
        pair = (mark.key, mark.owner)
        own = self.granted.get(pair) or self._held.get(pair)
        is_refused = 0 < mark.most <= live and (own is None or mark.expect not in (ANY, own.value))
        return View(
            live=live,
            latest=latest,
            frees_at=self._frees_at(mark.key, live - mark.most) if is_refused else None,
            own=own,
        )

    def keep(self, mark: Mark, held: Held) -> None:
        live, latest = self._totals.get(mark.key, (0, held.until))
        pair = (mark.key, mark.owner)
        is_new = pair not in self._held and pair not in self.granted
        # A renewal may lower what was the latest; only chained marks look, and keep their times.
        self._totals[mark.key] = (live + is_new, max(latest, held.until))
        self.granted[pair] = held

    def _frees_at(self, key: str, n: int) -> float:
        """Return when the n-th mark of a key expires, counted from 0: as granted by now.

        One that was counted may have been dropped since, as that locks nothing: then it is now.
        """
        ours = {pair: held for pair, held in self.granted.items() if pair[0] == key}
        ends = self._table.mark_first(key, n + len(ours) + 1)
        for pair, held in ours.items():
            before = self._held.get(pair)
            if before is not None and before.until in ends:
                ends.remove(before.until)
            insort(ends, held.until)
        return ends[n] if n < len(ends) else self._table.now
