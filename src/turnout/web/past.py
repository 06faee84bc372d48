"""What workers have counted: the last hour to the last 90 days, as a line of steps and by task; and
what was deployed in that time.

The invariant: one look reads at most a step's 200 rows for each of its steps, and serves everybody
who asks for the same within a few seconds; how many looks are remembered is bounded.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from turnout.deploys import Deploy, Deploys
from turnout.errors import StoreBusy, StoreUnavailable
from turnout.metrics import Measured, step_for, summed
from turnout.store.patience import held
from turnout.store.protocol import KeepsMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from turnout.store.protocol import Store

SPANS = {"1h": 3_600.0, "1d": 86_400.0, "7d": 604_800.0, "30d": 2_592_000.0, "90d": 7_776_000.0}
"""How far back one can look."""
_FRESH_SHARE, _FRESH_MOST = 600, 60.0  # a look serves for a 600th of its span, or a minute
_FRESH_UNSURE = 5.0  # where the deploys could not be read
_MOST_KEPT = 64


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of time: attempts that ended in it, and durations that 95 of 100 stayed within."""

    at: float
    attempts: int = 0
    failed: int = 0
    run_p95: float | None = None
    wait_p95: float | None = None


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """A span of time, oldest step first; the last step is not over yet."""

    now: float
    step: int
    steps: tuple[Step, ...]
    tasks: tuple[Measured, ...]  # the most attempts first
    total: Measured | None = None  # None: nothing was counted
    deploys: tuple[Deploy, ...] | None = ()  # the newest first; None: not known now

    def line(self, value: Callable[[Step], float]) -> list[tuple[float, float]]:
        """Return (time, value per minute) of each step."""
        return [(one.at, value(one) * 60 / self._length(one)) for one in self.steps]

    def _length(self, step: Step) -> float:
        # Counts arrive with heartbeats: of a step that has only begun there is little to see.
        return min(max(self.now - step.at, self.step / 2), self.step)


class Archive:
    """The kept metrics of one store."""

    def __init__(self, store: Callable[[], Store], clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._looks: OrderedDict[tuple[str, str | None], tuple[float, Past]] = OrderedDict()

    def look(self, span: str, task: str | None = None) -> Past:
        """Return what happened in a span (of `SPANS`), of one task or all; raises StoreError."""
        with held(self._lock):
            known = self._looks.get((span, task))
            if known is not None and time.monotonic() < known[0]:
                return known[1]
            past = self._read(SPANS[span], task)
            most = _FRESH_UNSURE if past.deploys is None else _FRESH_MOST
            until = time.monotonic() + min(SPANS[span] / _FRESH_SHARE, most)
            self._looks[span, task] = (until, past)
            while len(self._looks) > _MOST_KEPT:
                self._looks.popitem(last=False)
            return past

    def forget(self) -> None:
        """Read anew at the next look: something was added."""
        with held(self._lock):
            self._looks.clear()

    def _read(self, seconds: float, task: str | None) -> Past:
        store, now, step = self._store(), self._clock(), step_for(seconds)
        first = int(now - seconds) // step * step
        rows: Sequence[Measured] = ()
        if isinstance(store, KeepsMetrics):
            rows = store.metrics(step, since=first, task=task)
        tasks = sorted(summed(rows, by=("task",)), key=lambda row: -row.n)
        total = summed(rows)
        return Past(
            now=now,
            step=step,
            steps=tuple(_steps(rows, range(first, int(now) + 1, step))),
            tasks=tuple(tasks),
            total=total[0] if total else None,
            deploys=_deployed(store, self._clock, first),
        )


def _deployed(store: Store, clock: Callable[[], float], since: float) -> tuple[Deploy, ...] | None:
    try:
        return tuple(one for one in Deploys(store, clock).all() if one.at >= since)
    except (StoreUnavailable, StoreBusy):
        # One shard of several is away, or writers hold the lock that marks are read under and
        # counts are not: the rest of the page is worth showing.
        return None


def _steps(rows: Sequence[Measured], times: range) -> list[Step]:
    counted = {row.at: row for row in summed(rows, by=("at",))}
    return [_step(at, counted.get(at)) for at in times]


def _step(at: int, row: Measured | None) -> Step:
    if row is None:
        return Step(at=at)
    return Step(
        at=at,
        attempts=row.n,
        failed=row.failed,
        run_p95=row.run.quantile(0.95),
        wait_p95=row.wait.quantile(0.95),
    )
