"""The verb `count`: counters read, never rows counted."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from turnout.job import QueueStats
from turnout.store.sqlite.base import RATE_SECONDS, Q

if TYPE_CHECKING:
    from collections.abc import Callable

_DUE_AT_MOST = 10_000  # due but not promoted yet: no worker is there to do it


def count(execute: Callable[..., Any], now: float) -> list[QueueStats]:
    """Return the numbers of every known queue, by name."""
    places: dict[str, dict[str, int]] = defaultdict(dict)
    for queue, what, n in execute(Q["tallies"]):
        places[queue][what] = n
    paused = {queue: bool(flag) for queue, flag in execute(Q["queues"])}
    rates = dict(execute(Q["rates"], (int(now // RATE_SECONDS) - 60 // RATE_SECONDS,)).fetchall())
    due = {row[0]: row[1:] for row in execute(Q["due_by_queue"], (now, _DUE_AT_MOST))}
    found = []
    for queue in sorted({*places, *paused}):
        stats = _stats(execute, queue, places[queue], due.get(queue, (0, None)))
        found.append(
            replace(stats, paused=paused.get(queue, False), per_minute=rates.get(queue, 0))
        )
    return found


def ready_queues(execute: Callable[..., Any]) -> dict[str, int]:
    """Return how many jobs of each queue can be leased now; the paused are left out."""
    return dict(execute(Q["unpaused"]).fetchall())


def _stats(
    execute: Callable[..., Any], queue: str, places: dict[str, int], due: tuple[int, float | None]
) -> QueueStats:
    ready = places.get("ready", 0)
    oldest = execute(Q["oldest_ready"], (queue,) * 3).fetchone()[0] if ready else None
    ages = [age for age in (oldest, due[1]) if age is not None]
    return QueueStats(
        queue=queue,
        ready=ready + due[0],
        scheduled=places.get("scheduled", 0) - due[0],
        running=places.get("running", 0),
        succeeded=places.get("succeeded", 0),
        dead=places.get("dead", 0),
        discarded=places.get("discarded", 0),
        cancelled=places.get("cancelled", 0),
        oldest_at=min(ages, default=None),
    )
