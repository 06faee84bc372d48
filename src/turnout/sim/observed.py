"""What an application's kept metrics say of its load, as the parts of a scenario that nobody wrote.

Invariant: what a file says stands; only what it leaves out is filled in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from turnout.errors import ConfigError
from turnout.metrics import KEPT, Spread, step_for, summed, upper
from turnout.store.protocol import KeepsMetrics

if TYPE_CHECKING:
    from turnout.metrics import Measured
    from turnout.store.protocol import Store

__all__ = ["Observed", "filled", "observe"]

LOAD = 0.7  # of what the service can do: nothing in the metrics tells where its knee is
_PATIENCE = 6.0  # mean times after which a caller is taken to give up
_ENDINGS = ("succeeded", "dead", "discarded", "cancelled")
_WORKERS = 10  # where none is running
_SPREAD = 3.0  # the most that a service may be given
_STORM: dict[str, Any] = {
    "name": "as observed, with an outage of a minute",
    "duration": 660.0,
    "fault": [{"kind": "outage", "at": 60.0, "for": 60.0}],
    "policy": [{"name": "with an adaptive limit", "adaptive": True}],
}


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs a second that ended, seconds that an attempt took and its deviation as a share of that,
    the share of attempts that failed, and the slots of the workers that run.
    """

    rate: float
    time: float
    spread: float
    failing: float
    workers: int

    def text(self) -> str:
        """Return it in a line."""
        return (
            f"observed: {self.rate:.3g} jobs/s, {self.time:.3g} s an attempt, "
            f"{self.failing:.1%} of them fail, {self.workers} slots"
        )


def observe(store: Store, seconds: float, now: float, task: str | None = None) -> Observed:
    """Return what was counted in the last `seconds`, of all tasks or of one.

    Raises ConfigError when that is nothing.
    """
    step = step_for(seconds)
    rows: list[Measured] = []
    if isinstance(store, KeepsMetrics):
        rows = store.metrics(step, since=now - seconds - step, task=task)
        finest = min(each for each in KEPT if each)
        fine = store.metrics(finest, since=now - seconds - step, task=task)
        if _total(fine) == _total(rows):  # all of it is recent: known to the minute
            rows = fine
    if not _total(rows):
        whose = "" if task is None else f" of task {task!r}"
        msg = (
            f"nothing was counted{whose} in the last {seconds:,.0f} s, so no rate is known: look "
            "further back with --last, or write a scenario with [arrivals] rate"
        )
        raise ConfigError(msg)
    [row] = summed(rows)
    # From the first step that has anything: a store is often younger than the time asked for.
    span = max(now - min(each.at for each in rows), 1.0)
    ended = sum(row.outcomes.get(kind, 0) for kind in _ENDINGS)
    mean = max(row.run.mean or 0.0, 1e-4)
    return Observed(
        rate=max(ended, 1) / span,
        time=mean,
        spread=min(_SPREAD, _deviation(row.run, mean) / mean),
        failing=min(1.0, row.failed / row.n),
        workers=sum(each.concurrency for each in store.workers()) or _WORKERS,
    )


def _total(rows: list[Measured]) -> int:
    return sum(row.n for row in rows)


def needs_rate(data: Mapping[str, Any]) -> bool:
    """Tell whether a scenario leaves out how much arrives."""
    arrivals = data.get("arrivals", {})
    return isinstance(arrivals, Mapping) and "rate" not in arrivals


def filled(data: Mapping[str, Any], seen: Observed) -> dict[str, Any]:
    """Return a scenario with what it leaves out taken from what was observed.

    An empty one becomes an outage of a minute at the observed load.
    """
    service = {
        "time": seen.time,
        "spread": seen.spread,
        "failing": seen.failing,
        "knee": max(1, math.ceil(seen.rate * seen.time / LOAD)),
        "timeout": max(1.0, _PATIENCE * seen.time),
    }
    whole = dict(data) or dict(_STORM)
    whole.setdefault("workers", seen.workers)
    whole["arrivals"] = {"rate": seen.rate, **whole.get("arrivals", {})}
    given = whole.get("service", {})
    whole["service"] = {**service, **given} if isinstance(given, Mapping) else given
    return whole


def _deviation(spread: Spread, mean: float) -> float:
    """Return the standard deviation, from the middles of the buckets."""
    squares = 0.0
    for bucket, count in spread.counts.items():
        middle = (upper(bucket) + (upper(bucket - 1) if bucket else 0.0)) / 2
        squares += count * (middle - mean) ** 2
    return math.sqrt(squares / max(spread.n, 1))
