"""The verb `find`: what stands in many places, newest id first.

Only the line of plain successes is in order of ids; everything else is read through and the largest
ids are kept. A place that holds more than `ENOUGH` matches is read no further, from the end where
the newest stand: an operator who looks at a queue of a million jobs sees the newest of them at
once, in exact order among those read. Queues stand nearly in the order of their ids, and there may
be many: of all of them together so many are read, and of each at least twice what is asked for.
Of a page for people, each other place gives a share; who walks through all, to change them, reads
on to `ENOUGH`.
"""

from __future__ import annotations

import heapq
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING

from msgspec.structs import replace

from turnout.job import JobFilter, JobId, JobRecord, State
from turnout.store.redis.places import Seen, by_ids, in_trace, places, traces

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from turnout.store.redis.connection import Link

ENOUGH = 10_000
MANY = 1_000  # who asks for so many walks through all of them, to change them
_id = attrgetter("record.id")


def find(
    link: Link, where: JobFilter, now: float, *, limit: int, after: JobId | None = None
) -> list[JobRecord]:
    """Return matching records, newest id first, all older than `after`."""
    found = [seen.record for seen in islice(select(link, where, now, limit, after), limit)]
    return _with_side_notes(link, found)


def select(
    link: Link, where: JobFilter, now: float, limit: int, after: JobId | None = None
) -> Iterator[Seen]:
    """Yield matching jobs, newest id first; those that are not plain successes up to `limit`."""
    states = set(where.states) if where.states else set(State)
    if where.view is not None:
        states &= {State.QUEUED}

    def chosen(seen: Iterable[Seen]) -> Iterator[Seen]:
        return (
            each
            for each in seen
            if (after is None or each.record.id < after)
            and each.record.state in states
            and matches(each.record, where, now)
        )

    if where.ids:
        ids = [one for one in set(where.ids) if after is None or one < after]
        yield from _newest(chosen(by_ids(link, ids)), len(ids))
        return
    lines = link.run("SCARD", "queues") if where.queue is None and State.QUEUED in states else 1
    of_line = max(2 * limit, ENOUGH // max(lines, 1))
    of_place = ENOUGH // max(len(states), 2) if limit < MANY else ENOUGH
    told = (
        each
        for place, is_line in places(link, where, states)
        for each in islice(chosen(place), of_line if is_line else of_place)
    )
    sources = [iter(_newest(told, limit))]
    if State.SUCCEEDED in states and where.error is None:
        sources.append(chosen(_traced(link)))
    yield from heapq.merge(*sources, key=_id, reverse=True)


def _newest(seen: Iterable[Seen], limit: int) -> list[Seen]:
    """Return those with the largest ids; of one that was met twice, what was seen last."""
    kept: dict[JobId, Seen] = {}
    for each in seen:
        kept[each.record.id] = each
        if len(kept) > 4 * max(limit, 1_000):
            kept = {one.record.id: one for one in heapq.nlargest(limit, kept.values(), key=_id)}
    return heapq.nlargest(limit, kept.values(), key=_id)


_FLIP = str.maketrans("0123456789abcdef", "fedcba9876543210")


def _traced(link: Link) -> Iterator[Seen]:
    """Yield plain successes, newest id first.

    Batches overlap in their ids. A batch whose last id lies below what is still held back cannot
    hold a newer one, so a heap of opened batches gives the exact order without opening them all.
    """
    held: list[tuple[str, int, Seen]] = []
    serial = 0
    for trace in traces(link):
        while held and held[0][2].record.id > trace.last_id:
            yield heapq.heappop(held)[2]
        for seen in in_trace(trace):
            serial += 1
            heapq.heappush(held, (seen.record.id.translate(_FLIP), serial, seen))
    while held:
        yield heapq.heappop(held)[2]


def matches(record: JobRecord, where: JobFilter, now: float) -> bool:
    """Tell whether everything that `where` gives holds, but for its ids and states."""
    at = record.enqueued_at or 0.0
    return (
        (where.queue is None or record.queue == where.queue)
        and (where.task is None or record.task == where.task)
        and (where.error is None or is_error(record.error, where.error))
        and (where.before is None or at < where.before)
        and (where.since is None or at >= where.since)
        and (where.view is None or _is_in_view(record, where.view, now))
    )


def _is_in_view(record: JobRecord, view: str, now: float) -> bool:
    if view == "retrying":
        return record.attempt > 0
    return ((record.run_at or 0.0) <= now) == (view == "ready")


def is_error(found: str | None, wanted: str) -> bool:
    """Tell whether an error's name, whole or by its last part, is the one wanted."""
    return found is not None and wanted in {found, found.rpartition(".")[2]}


def _with_side_notes(link: Link, found: list[JobRecord]) -> list[JobRecord]:
    """Add what is kept beside the jobs: progress, and whether one was asked to stop."""
    if not found:
        return found
    ids = [record.id for record in found]
    progress, asked = link.several(
        ("HMGET", "turnout:progress", *ids), ("SMISMEMBER", "turnout:cancel", *ids)
    )
    return [
        replace(record, progress=told and told.decode(), cancel_requested=bool(stop))
        if told or stop
        else record
        for record, told, stop in zip(found, progress, asked, strict=True)
    ]
