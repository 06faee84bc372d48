"""What this process has measured of its attempts, on its way to the store; an object, not a thread.

Settled outcomes are added by the batch. A flush takes what has gathered, under the next number of
this source, and sends it until the store has answered: the same rows under the same number, so that
a reply that was lost counts nothing twice. Meanwhile new counts gather beside them.

    gathered --take, next number--> sent --answered--> counted
                                     ^ |
                                     +-+ the store failed: the same again, at the next flush

While the store is away minutes pile up. Over `_MOST` of them, they are added up by the hour and
then by the day: that loses when something happened, never that it did.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from turnout.job import SUCCEEDED
from turnout.lanes import base_of
from turnout.metrics import MOST_ROWS, MOST_TASKS, OTHER, Measured, Spread, bucketed, kind_of
from turnout.store.protocol import KeepsMetrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.job import Outcome, Reaped
    from turnout.store.protocol import Store

_MINUTE = 60
_MOST = 2_000  # rows that wait at a resolution of minutes
_COARSER = (3_600, 86_400)
Key = tuple[int, str, str]  # at, task, queue


class _Cell:
    """The counts of one key."""

    __slots__ = ("outcomes", "ran", "run", "wait", "waited")

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.ran = self.waited = 0.0
        self.run: Counter[int] = Counter()
        self.wait: Counter[int] = Counter()

    def add(self, kind: str, runs: list[float], waits: list[float]) -> None:
        self.outcomes[kind] += len(runs)
        self.ran += sum(runs)
        self.waited += sum(waits)
        self.run.update(bucketed(runs))
        self.wait.update(bucketed(waits))

    def merge(self, other: _Cell) -> None:
        self.outcomes.update(other.outcomes)
        self.ran += other.ran
        self.waited += other.waited
        self.run.update(other.run)
        self.wait.update(other.wait)

    def row(self, key: Key) -> Measured:
        at, task, queue = key
        return Measured(
            at=at,
            task=task,
            queue=queue,
            outcomes=dict(self.outcomes),
            run=Spread(max(self.ran, 0.0), dict(self.run)),
            wait=Spread(max(self.waited, 0.0), dict(self.wait)),
        )


class Measures:
    """Counts of one worker process that the store has not confirmed yet."""

    def __init__(self) -> None:
        self.source = secrets.token_hex(8)
        self._cells: dict[Key, _Cell] = {}
        self._sent: list[Measured] = []
        self._number = 0
        self._lock = threading.Lock()
        self._flushing = threading.Lock()

    def __len__(self) -> int:
        return len(self._cells) + len(self._sent)

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Count settled outcomes, at least one; jobs that did not run count nothing."""
        last = outcomes[-1]
        task, queue, at = last.job.task, last.job.queue, int(last.finished_at // _MINUTE) * _MINUTE
        for one in outcomes:
            if one.state is not SUCCEEDED or one.job.task != task or one.job.queue != queue:
                break
        else:  # most batches: successes of one task, counted by the list
            self._count(at, task, queue, "succeeded", outcomes)
            return
        groups: dict[tuple[str, str, str], list[Outcome]] = defaultdict(list)
        for one in outcomes:
            groups[one.job.task, one.job.queue, kind_of(one)].append(one)
        for (task, queue, kind), group in groups.items():
            if kind != "released":
                self._count(at, task, queue, kind, group)

    def crashed(self, reaped: Sequence[Reaped], at: float) -> None:
        """Count attempts whose workers died; how long they ran nobody knows."""
        with self._lock:
            for job in reaped:
                cell = self._cell(int(at // _MINUTE) * _MINUTE, job.task, job.queue)
                cell.outcomes["crashed"] += 1

    def _count(self, at: int, task: str, queue: str, kind: str, group: Sequence[Outcome]) -> None:
        runs = [one.finished_at - one.started_at for one in group]
        waits = [one.started_at - one.job.run_at for one in group]
        with self._lock:
            self._cell(at, task, queue).add(kind, runs, waits)

    def _cell(self, at: int, task: str, queue: str) -> _Cell:
        key = (at, task, base_of(queue))  # or every tenant would have metrics of its own
        cell = self._cells.get(key)
        if cell is None:
            if len(self._cells) >= _MOST:
                self._squeeze()
            others = sum(one[0] == at for one in self._cells)
            key = key if others < MOST_TASKS else (at, OTHER, OTHER)
            cell = self._cells.setdefault(key, _Cell())
        return cell

    def _squeeze(self) -> None:
        """Add up what has waited, by ever longer steps, until there is room."""
        for step in _COARSER:
            cells: dict[Key, _Cell] = {}
            for (at, task, queue), cell in self._cells.items():
                key = (at - at % step, task, queue)
                if key in cells:
                    cells[key].merge(cell)
                else:
                    cells[key] = cell
            self._cells = cells
            if len(cells) < _MOST:
                return

    def flush(self, store: Store) -> None:
        """Send what has gathered; raises StoreError when the store fails, and keeps all of it."""
        if not isinstance(store, KeepsMetrics):
            return
        with self._flushing:
            while self._sent or self._cells:
                if not self._sent:
                    self._take()
                store.record_metrics(self.source, self._number, self._sent)
                self._sent = []

    def _take(self) -> None:
        with self._lock:
            keys = sorted(self._cells)[:MOST_ROWS]
            self._sent = [self._cells.pop(key).row(key) for key in keys]
            self._number += 1
