"""The verbs of metrics, and those of marks beside them, as the store's class has them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

from turnout.metrics import check_rows
from turnout.store.marking import checked
from turnout.store.measuring import SOURCES_KEPT, check_step, measured, record_in
from turnout.store.sqlite.base import Q, Turn, encode
from turnout.store.sqlite.marking import mark, unmark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from turnout.limits.marks import Mark, Marked
    from turnout.metrics import Measured
    from turnout.store.measuring import Row, Slot

T = TypeVar("T")


class KeepsSmallThings(ABC):
    """What the SQLite store adds to its class for marks and metrics."""

    @abstractmethod
    def _front(self, verb: Callable[[Turn], T], now: float | None) -> T: ...

    @abstractmethod
    def _look(self, verb: Callable[[Callable[..., Any]], T]) -> T: ...

    def mark(self, marks: Sequence[Mark], *, now: float | None = None) -> list[Marked]:
        """Let owners hold limit keys."""
        asked = checked(marks)
        return self._front(lambda turn: mark(turn, asked), now) if asked else []

    def unmark(self, marks: Sequence[tuple[str, str]]) -> int:
        """Drop marks."""
        return self._front(lambda turn: unmark(turn, marks), None) if marks else 0

    def record_metrics(
        self, source: str, number: int, rows: Sequence[Measured], *, now: float | None = None
    ) -> None:
        """Add rows to what is kept, once."""
        check_rows(rows)
        self._front(lambda turn: record_in(_Table(turn), source, number, rows), now)

    def metrics(self, step: int, *, since: float = 0.0, task: str | None = None) -> list[Measured]:
        """Return the kept rows of a step of time."""
        check_step(step)
        found = self._look(lambda run: run(Q["metrics"], (step, int(since), task, task)).fetchall())
        return [measured(*row) for row in found]


class _Table:
    """The tables of metrics, within one transaction, which holds the file's write lock."""

    def __init__(self, turn: Turn) -> None:
        self._execute = turn.execute
        self.now = turn.now

    def metric_begin(self, source: str, number: int) -> bool:
        changed: int = self._execute(Q["metric_begin"], (source, number, self.now)).rowcount
        return changed > 0

    def metric_read(self, slots: Sequence[Slot]) -> Iterable[Row]:
        rows: list[Row] = self._execute(Q["metric_read"], (encode(slots).decode(),)).fetchall()
        return rows

    def metric_put(self, rows: Sequence[Row]) -> None:
        self._execute(Q["metric_put"], (encode(rows).decode(),))


def prune_metrics(turn: Turn, kept: Iterable[tuple[int, float]], limit: int) -> None:
    """Delete steps of time that are past their keeping, and sources not heard of for a day."""
    for step, seconds in kept:
        if step:
            turn.execute(Q["prune_metrics"], (step, int(turn.now - seconds), limit))
    turn.execute(Q["prune_sources"], (turn.now - SOURCES_KEPT, limit))
