"""The numbers of queues, added up: over several shards, or over a queue's lanes. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from turnout.job import QueueStats
from turnout.lanes import base_of, is_lane

_ADDED = ("ready", "scheduled", "running", "succeeded", "dead", "discarded", "cancelled")


def added_up(stats: Iterable[QueueStats]) -> list[QueueStats]:
    """Return every queue's sums, by name; one that is paused anywhere is shown as paused."""
    sums: dict[str, QueueStats] = {}
    for each in stats:
        known = sums.get(each.queue)
        sums[each.queue] = each if known is None else _sum(known, each)
    return [sums[name] for name in sorted(sums)]


def with_lanes(stats: Iterable[QueueStats]) -> list[QueueStats]:
    """Return every queue with its lanes' numbers in its own; a lane's pause is not the queue's."""
    return added_up(
        replace(each, queue=base_of(each.queue), paused=False) if is_lane(each.queue) else each
        for each in stats
    )


def lanes_of(stats: Iterable[QueueStats]) -> dict[str, list[QueueStats]]:
    """Return the lanes of each queue that hold jobs, the longest first."""
    found: dict[str, list[QueueStats]] = {}
    for each in stats:
        if is_lane(each.queue) and (each.ready or each.running or each.scheduled or each.paused):
            found.setdefault(base_of(each.queue), []).append(each)
    for lanes in found.values():
        lanes.sort(key=lambda one: (-one.ready, one.queue))
    return found


def _sum(one: QueueStats, other: QueueStats) -> QueueStats:
    oldest = [at for at in (one.oldest_at, other.oldest_at) if at is not None]
    return replace(
        one,
        paused=one.paused or other.paused,
        foreign=one.foreign and other.foreign,
        oldest_at=min(oldest, default=None),
        **{name: getattr(one, name) + getattr(other, name) for name in (*_ADDED, "per_minute")},
    )
