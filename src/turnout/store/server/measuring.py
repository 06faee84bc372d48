"""The verbs `record_metrics` and `metrics`, for the stores whose tables a server keeps."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, TypeVar

from turnout.metrics import KEPT, check_rows
from turnout.store.measuring import SOURCES_KEPT, check_step, measured, record_in
from turnout.store.server.marking import KeepsMarks, text_of
from turnout.store.server.turn import Turn, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from turnout.metrics import Measured
    from turnout.store.measuring import Row, Slot

T = TypeVar("T")


class KeepsMetrics(KeepsMarks):
    """What a server's store adds to its class for metrics, and for marks."""

    @abstractmethod
    def _look(self, verb: Callable[[Turn], T], now: float | None) -> T: ...

    def record_metrics(
        self, source: str, number: int, rows: Sequence[Measured], *, now: float | None = None
    ) -> None:
        """Add rows to what is kept, once; see the protocol."""
        check_rows(rows)
        self._write(lambda turn: record_in(_Table(turn), source, number, rows), now)

    def metrics(self, step: int, *, since: float = 0.0, task: str | None = None) -> list[Measured]:
        """Return the kept rows of a step of time; see the protocol."""
        check_step(step)
        asked = (step, int(since), task, task)
        rows = self._look(lambda turn: turn.rows("metrics", *asked), 0.0)
        return sorted(
            (measured(at, text_of(task), text_of(queue), body) for at, task, queue, body in rows),
            key=lambda one: (one.at, one.task, one.queue),
        )


class _Table:
    """The tables of metrics, within one transaction."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self.now = turn.now

    def metric_begin(self, source: str, number: int) -> bool:
        self._turn.rows("metric_lock")
        known = self._turn.rows("metric_number", source)
        if known and known[0][0] >= number:
            return False
        self._turn.do("metric_begin", source, number, self.now)
        return True

    def metric_read(self, slots: Sequence[Slot]) -> Iterable[Row]:
        rows = self._turn.rows("metric_read", encode(slots).decode())
        return [
            (step, at, text_of(task), text_of(queue), body) for step, at, task, queue, body in rows
        ]

    def metric_put(self, rows: Sequence[Row]) -> None:
        names = ("step", "at", "task", "queue", "body")
        self._turn.do(
            "metric_put", encode([dict(zip(names, row, strict=True)) for row in rows]).decode()
        )


def prune_metrics(turn: Turn, limit: int) -> None:
    """Delete steps of time that are past their keeping, and sources not heard of for a day."""
    for step, kept in KEPT.items():
        if step:
            turn.do("prune_metrics", step, int(turn.now - kept), limit)
    turn.do("prune_sources", turn.now - SOURCES_KEPT, limit)
