"""What is measured of attempts: counts by outcome, and how long runs and waits took, in buckets.

Durations are counted in buckets whose bounds grow by the square root of two, from 0.1 ms to 5 days:

    bucket 0      below 0.1 ms
    bucket n      0.1 ms x 2 ** ((n - 1) / 2) up to, and without, 0.1 ms x 2 ** (n / 2)
    bucket LAST   everything above

A percentile read from them is off by a fifth at most, however many attempts there were, and any two
spreads can be added. Counts are kept by the minute for three hours, by ten minutes for 30 hours,
by the hour for eight days, by the day for 92, and for ever (`EVER`), which is one row a task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from turnout.errors import ConfigError
from turnout.job import Outcome, State

__all__ = [
    "EVER",
    "KEPT",
    "LAST",
    "MOST_ROWS",
    "MOST_TASKS",
    "OTHER",
    "Measured",
    "Spread",
    "as_figures",
    "bucket_of",
    "bucketed",
    "check_rows",
    "kind_of",
    "step_for",
    "summed",
    "upper",
]

EVER: Final = 0
KEPT: Final[dict[int, float]] = {
    60: 3 * 3_600.0,
    600: 30 * 3_600.0,
    3_600: 8 * 86_400.0,
    86_400: 92 * 86_400.0,
    EVER: float("inf"),
}  # step in seconds -> how long its rows are kept
OTHER: Final = "*"  # stands for task and queue of what came after MOST_TASKS
MOST_TASKS: Final = 200  # pairs of task and queue that one step of time tells apart
MOST_ROWS: Final = 1_000  # of one call
LAST: Final = 64
_LEAST = 1e-4  # seconds: the bound of bucket 0
_SCALE = _LEAST**-2
_CEILING = _LEAST * 2 ** (LAST / 2) * 0.999


class Spread(msgspec.Struct, array_like=True):
    """How long something took: the sum in seconds, and how many fell into which bucket."""

    total: float = 0.0
    counts: dict[int, int] = {}

    @property
    def n(self) -> int:
        """How many there were."""
        return sum(self.counts.values())

    @property
    def mean(self) -> float | None:
        """The mean in seconds, exact; None when there were none."""
        n = self.n
        return self.total / n if n else None

    def quantile(self, q: float) -> float | None:
        """Return the duration in seconds that a share `q` (0 to 1) stayed within, None for none."""
        target = q * self.n
        seen = 0
        for bucket, count in sorted(self.counts.items()):
            if seen + count >= target:
                low = upper(bucket - 1) if bucket else 0.0
                return low + (upper(bucket) - low) * max(target - seen, 0.0) / count
            seen += count
        return None

    def plus(self, other: Spread) -> Spread:
        """Return both together."""
        counts = Counter(self.counts)
        counts.update(other.counts)
        return Spread(self.total + other.total, dict(counts))


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one task's jobs of one queue in one step of time, which began at `at`.

    `outcomes` counts attempts by how they ended: succeeded, retried, snoozed, dead, discarded,
    cancelled, crashed. `run` is how long they ran, `wait` how long they had been due before.
    """

    at: int
    task: str
    queue: str
    outcomes: dict[str, int] = {}
    run: Spread = msgspec.field(default_factory=Spread)
    wait: Spread = msgspec.field(default_factory=Spread)

    @property
    def n(self) -> int:
        """How many attempts there were."""
        return sum(self.outcomes.values())

    @property
    def failed(self) -> int:
        """How many of them ended in an error or a crash."""
        return sum(self.outcomes.get(kind, 0) for kind in ("retried", "dead", "crashed"))

    def plus(self, other: Measured) -> Measured:
        """Return both together, under this one's names and time."""
        counts = Counter(self.outcomes)
        counts.update(other.outcomes)
        run, wait = self.run.plus(other.run), self.wait.plus(other.wait)
        return msgspec.structs.replace(self, outcomes=dict(counts), run=run, wait=wait)


def upper(bucket: int) -> float:
    """Return the upper bound of a bucket in seconds; what is longer than all is in the last."""
    return _LEAST * float(2 ** (bucket / 2))


def bucket_of(seconds: float) -> int:
    """Return the bucket of a duration; less than nothing, by clocks that differ, is 0."""
    # The square doubles where the bound grows by its root, and an integer knows its own logarithm.
    seconds = min(max(seconds, 0.0), _CEILING)
    return int(seconds * seconds * _SCALE).bit_length()


def bucketed(durations: Sequence[float]) -> dict[int, int]:
    """Return how many of these durations, at least one, fall into which bucket."""
    most = max(durations)
    if most < _LEAST:
        return {0: len(durations)}
    least = min(durations)
    low = bucket_of(least)
    if low == bucket_of(most):  # a batch of alike jobs: nothing to tell apart
        return {low: len(durations)}
    if least < 0 or most > _CEILING:
        durations = [min(max(one, 0.0), _CEILING) for one in durations]
    # Spelled out: a call for each takes three times as long.
    return Counter([int(one * one * _SCALE).bit_length() for one in durations])


def kind_of(outcome: Outcome) -> str:
    """Return how an attempt ended, in one word; `released` is none: the job did not run."""
    if outcome.state is not State.QUEUED:
        return outcome.state.value
    if outcome.crashes is not None:
        return "crashed"
    if outcome.error is not None:
        return "retried"
    return "snoozed" if outcome.trail is not None else "released"


def step_for(seconds: float) -> int:
    """Return the finest step that is kept for so long; the coarsest when none is."""
    return next((step for step, kept in KEPT.items() if step and kept >= seconds), 86_400)


def summed(rows: Iterable[Measured], *, by: Sequence[str] = ()) -> list[Measured]:
    """Add rows up that agree in the fields named (of at, task, queue), in the order of these.

    What is not named becomes 0 or OTHER.
    """
    sums: dict[tuple[int, str, str], Measured] = {}
    for row in rows:
        at = row.at if "at" in by else 0
        task = row.task if "task" in by else OTHER
        queue = row.queue if "queue" in by else OTHER
        known = sums.get((at, task, queue))
        sums[at, task, queue] = (
            msgspec.structs.replace(row, at=at, task=task, queue=queue)
            if known is None
            else known.plus(row)
        )
    return [sums[key] for key in sorted(sums)]


def as_figures(row: Measured) -> dict[str, Any]:
    """Return what one row says, as programs read it; durations in seconds."""
    return {
        "task": row.task,
        "queue": None if row.queue == OTHER else row.queue,
        "attempts": row.n,
        "failed": row.failed,
        "outcomes": row.outcomes,
        "run": _figures(row.run),
        "wait": _figures(row.wait),
    }


def _figures(spread: Spread) -> dict[str, float | None]:
    shares = {f"p{share}": spread.quantile(share / 100) for share in (50, 95, 99)}
    return {"total": spread.total, "mean": spread.mean, **shares}


def check_rows(rows: Sequence[Measured]) -> None:
    """Raise ConfigError for too many rows in one call."""
    if len(rows) > MOST_ROWS:
        msg = f"a call records {MOST_ROWS:,} rows of metrics at most, got {len(rows):,}"
        raise ConfigError(msg)


def by_step(
    rows: Iterable[Measured], now: float
) -> Mapping[tuple[int, int], dict[tuple[str, str], Measured]]:
    """Return rows of minutes as what they add to each (step, at) that is still kept."""
    slots: dict[tuple[int, int], dict[tuple[str, str], Measured]] = {}
    for row in rows:
        for step, kept in KEPT.items():
            at = row.at - row.at % step if step else 0
            if step and at < now - kept:
                continue
            slot = slots.setdefault((step, at), {})
            key = (row.task, row.queue)
            known = slot.get(key)
            slot[key] = msgspec.structs.replace(row, at=at) if known is None else known.plus(row)
    return slots
