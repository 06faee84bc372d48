"""Finds jobs within bounds, whatever was asked: a look never walks the whole store.

A store answers ids and states from an index. The rest of a query (queue, task, error, age, view) it
would look for in row after row: quick among `FEW` jobs, seconds among five million. How many jobs
stand in the states that are meant is known from the counters. Where they are more, the rest is
looked for here, in pages of the newest jobs, until the page is full or the time is up; the answer
then says how far it came, and the next request goes on from there. Arguments are always looked for
like that.

    full        the page is full, and more may follow
    complete    everything was looked at
    unfinished  the time was up: `next` is where to go on

The invariant: one call reads for about `PATIENCE` seconds, or its first page, and a search
that goes on from its answer skips and repeats nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from turnout.job import JobId, JobRecord, State
from turnout.lanes import base_of
from turnout.search import as_it_is

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.job import QueueStats
    from turnout.search import Query, Shown
    from turnout.store.protocol import Store

PATIENCE = 0.1
FEW = 20_000  # that a store may walk through for one page
CHUNK = 200
MOST_LOOKED_AT = 5_000


class Look(Protocol):
    """What is known of the moment: its time, and the counters of all queues."""

    @property
    def at(self) -> float:
        """When it was, by the store's clock or near it."""
        ...

    @property
    def queues(self) -> Sequence[QueueStats]:
        """The numbers of every queue, its lanes in them."""
        ...

    @property
    def lanes(self) -> Sequence[QueueStats]:
        """The numbers of every lane."""
        ...


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A page of jobs, newest first, and where the next one begins."""

    jobs: list[JobRecord]
    end: Literal["full", "complete", "unfinished"]
    next: JobId | None = None
    looked_at: int = 0
    looked_back_to: float | None = None  # when the oldest job looked at was enqueued


def find(
    store: Store,
    query: Query,
    look: Look,
    *,
    limit: int,
    after: JobId | None,
    shown: Shown = as_it_is,
) -> Found:
    """Return at most `limit` jobs that the query means, older than `after`.

    Arguments are compared as `shown` returns them: who may not read a value cannot look for it.
    """
    if () in (query.tasks, query.queues):
        return Found(jobs=[], end="complete")  # a prefix that fits no name
    exact = query.exact()
    if exact is not None and standing(query, look) <= FEW and not _spans_lanes(query, look):
        jobs = store.find(exact, limit=limit + 1, after=after, now=look.at)
        more = len(jobs) > limit
        following = jobs[limit - 1].id if more else None
        return Found(jobs=jobs[:limit], end="full" if more else "complete", next=following)
    return _search(store, query, limit=limit, after=after, now=look.at, shown=shown)


def _spans_lanes(query: Query, look: Look) -> bool:
    """Tell whether a queue that was asked for has lanes: no store looks for all of them at once."""
    asked = {*(query.queues or ())}
    return bool(asked) and any(base_of(one.queue) in asked for one in look.lanes)


def standing(query: Query, look: Look) -> int:
    """Return how many jobs stand in the states that a query means, by the counters."""
    states = query.narrowed().states or tuple(State)
    names = {"ready" if one is State.QUEUED else str(one) for one in states}
    names |= {"scheduled"} if State.QUEUED in states else set()
    return sum(getattr(queue, name) for queue in look.queues for name in names)


def _search(
    store: Store, query: Query, *, limit: int, after: JobId | None, now: float, shown: Shown
) -> Found:
    where, size = query.narrowed(), limit + 1 if query.is_simple else CHUNK
    began, jobs, looked_at = time.monotonic(), list[JobRecord](), 0
    oldest: JobRecord | None = None
    while True:
        asked = time.monotonic()
        page = store.find(where, limit=size, after=after, now=now)
        for record in page:
            looked_at, oldest = looked_at + 1, record
            if not query.holds(record, now, shown):
                continue
            if len(jobs) == limit:
                return _found(jobs, "full", jobs[-1].id, looked_at, record)
            jobs.append(record)
        if len(page) < size:
            return _found(jobs, "complete", None, looked_at, oldest)
        after = page[-1].id
        now_is = time.monotonic()  # the next page will take as long as this one did
        if looked_at >= MOST_LOOKED_AT or now_is - began + (now_is - asked) > PATIENCE:
            return _found(jobs, "unfinished", after, looked_at, oldest)


def _found(
    jobs: list[JobRecord],
    end: Literal["full", "complete", "unfinished"],
    following: JobId | None,
    looked_at: int,
    oldest: JobRecord | None,
) -> Found:
    return Found(
        jobs=jobs,
        end=end,
        next=following,
        looked_at=looked_at,
        looked_back_to=oldest.enqueued_at if oldest else None,
    )
