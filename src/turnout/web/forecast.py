"""When will a queue be empty? A pure guess from its backlog, its rate and how the backlog moves.

The invariant: a forecast says what it rests on; where nothing moves, it says that instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from turnout.web.wording import duration, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.job import QueueStats

LEAST_SPAN = 20.0  # seconds of history before a trend counts
WINDOW = 300.0
STEADY = 0.02  # a change of less than this share of the backlog in a minute is no trend

Kind = Literal["empty", "paused", "stuck", "draining", "growing", "steady"]


class Forecast(msgspec.Struct, frozen=True):
    """What is to be expected of a queue; `seconds` until it is empty, where that can be said."""

    kind: Kind
    text: str
    seconds: float | None = None


def forecast(queue: QueueStats, backlog: Sequence[tuple[float, int]]) -> Forecast:
    """Return what to expect; `backlog` is (time, ready jobs), oldest first."""
    if queue.ready == 0:
        return Forecast("empty", "nothing waits")
    if queue.paused:
        return Forecast("paused", "paused: nothing will be taken")
    if queue.per_minute == 0:
        return Forecast("stuck", "nothing finished within the last minute")
    slope = trend(backlog)
    if slope is None or abs(slope) * 60 < STEADY * queue.ready:
        seconds = queue.ready / queue.per_minute * 60
        kind: Kind = "draining" if slope is None else "steady"
        return Forecast(kind, f"{duration(seconds)} at this rate, if no more comes", seconds)
    if slope > 0:
        return Forecast("growing", f"growing by {number(slope * 60)} a minute")
    seconds = queue.ready / -slope
    return Forecast("draining", f"empty in about {duration(seconds)}", seconds)


def trend(backlog: Sequence[tuple[float, int]]) -> float | None:
    """Return jobs per second by which a backlog grows; None for too short a history."""
    if not backlog:
        return None
    end = backlog[-1][0]
    recent = [(at, ready) for at, ready in backlog if at >= end - WINDOW]
    span = end - recent[0][0]
    if span < LEAST_SPAN:
        return None
    mean_at = sum(at for at, _ in recent) / len(recent)
    mean_ready = sum(ready for _, ready in recent) / len(recent)
    spread = sum((at - mean_at) ** 2 for at, _ in recent)
    return sum((at - mean_at) * (ready - mean_ready) for at, ready in recent) / spread
