"""The verb `count`: counters read, never rows counted."""

from __future__ import annotations

from collections import defaultdict

from msgspec.structs import replace

from turnout.job import QueueStats
from turnout.store.server.turn import RATE_SECONDS, Turn

_DUE_AT_MOST = 10_000  # due but not promoted yet: no worker is there to do it


def count(turn: Turn) -> list[QueueStats]:
    """Return the numbers of every known queue, by name."""
    places: dict[str, dict[str, int]] = defaultdict(dict)
    for queue, what, n in turn.rows("tallies"):
        places[queue][what] = n
    paused = {queue: bool(flag) for queue, flag in turn.rows("queues")}
    bucket = int(turn.now // RATE_SECONDS) - 60 // RATE_SECONDS
    rates = dict(turn.rows("rates", bucket, bucket))
    due = {row[0]: row[1:] for row in turn.rows("due_by_queue", turn.now, _DUE_AT_MOST)}
    found = []
    for queue in sorted({*places, *paused}):
        stats = _stats(turn, queue, places[queue], due.get(queue, (0, None)))
        found.append(
            replace(stats, paused=paused.get(queue, False), per_minute=rates.get(queue, 0))
        )
    return found


def _stats(
    turn: Turn, queue: str, places: dict[str, int], due: tuple[int, float | None]
) -> QueueStats:
    ready = places.get("ready", 0)
    oldest = turn.rows("oldest_ready", queue)[0][0] if ready else None
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
