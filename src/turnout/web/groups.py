"""The dead set by error: jobs of one task that died of the same exception are one group.

The invariant: a group is changed in bounded steps by ids that were just seen dead, so that a job
that dies again meanwhile is not taken a second time, and no step takes longer than its patience.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from turnout.job import JobFilter, JobId, JobRecord, State
from turnout.web import charts
from turnout.web.wording import duration, plural

if TYPE_CHECKING:
    from collections.abc import Callable

    from markupsafe import Markup

    from turnout.store.protocol import Store

MOST_GROUPED = 5_000
PATIENCE = 0.1
CHUNK = 500
BATCH = 100  # jobs changed in one go
STEP = 1_000  # jobs changed by one click
STEP_PATIENCE = 2.0
SLICES = 24

_DEAD = (State.DEAD,)


class Group(msgspec.Struct, kw_only=True):
    """Dead jobs of one task with the same exception; `error` None: none was raised."""

    task: str
    error: str | None
    count: int = 0
    first_at: float | None = None
    last_at: float | None = None
    message: str | None = None  # of the newest
    newest: JobId | None = None
    queues: list[str] = msgspec.field(default_factory=list)
    moments: list[float] = msgspec.field(default_factory=list)

    def slices(self, start: float, end: float) -> list[int]:
        """Return how many died in each of equal stretches from `start` to `end`."""
        counts, width = [0] * SLICES, max(end - start, 1.0) / SLICES
        for at in self.moments:
            counts[min(max(int((at - start) / width), 0), SLICES - 1)] += 1
        return counts


class Groups(msgspec.Struct, frozen=True, kw_only=True):
    """The groups, largest first, and over how many of the newest dead jobs they were made."""

    groups: list[Group]
    looked_at: int
    complete: bool


def group_dead(
    store: Store,
    hide: Callable[[JobRecord], JobRecord],
    *,
    now: float,
    most: int = MOST_GROUPED,
    task: str | None = None,
    patience: float = PATIENCE,
) -> Groups:
    """Group the newest dead jobs: at most `most`, for about `patience` seconds, or one page.

    With `task`, those of other tasks are looked at and left out.
    `hide` takes out of a record what may not be shown; it is asked for the newest of each group.
    """
    began, after, looked_at, took = time.monotonic(), None, 0, 0.0
    groups: dict[tuple[str, str | None], Group] = {}
    complete = False
    # The next page will take as long as the last one did.
    while (
        not complete
        and looked_at < most
        and (not looked_at or time.monotonic() - began + took < patience)
    ):
        asked = time.monotonic()
        page = store.find(JobFilter(states=_DEAD), limit=CHUNK, after=after, now=now)
        took = time.monotonic() - asked
        for record in page:
            key = (record.task, record.error)
            if task not in (None, record.task):
                continue
            if key not in groups:
                shown = hide(record)
                said = shown.message or shown.reason
                groups[key] = Group(task=record.task, error=record.error, message=said)
            _add(groups[key], record)
        looked_at += len(page)
        complete = len(page) < CHUNK
        after = page[-1].id if page else None
    ordered = sorted(groups.values(), key=lambda one: (-one.count, -(one.last_at or 0)))
    return Groups(groups=ordered, looked_at=looked_at, complete=complete)


def _add(group: Group, record: JobRecord) -> None:
    died = record.finished_at or record.enqueued_at or 0.0
    if not group.count:
        group.newest = record.id
    group.count += 1
    group.first_at = died if group.first_at is None else min(group.first_at, died)
    group.last_at = died if group.last_at is None else max(group.last_at, died)
    group.moments.append(died)
    if record.queue not in group.queues:
        group.queues.append(record.queue)


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What one step did, and where the next one begins; `next` None: nothing is left."""

    changed: int
    looked_at: int
    next: JobId | None


def walk(
    store: Store,
    group: tuple[str, str | None],
    *,
    after: JobId | None,
    now: float,
    action: Literal["retry", "delete"] | None = None,
) -> tuple[Step, list[JobRecord]]:
    """Walk a group's jobs from `after` on, newest first, and change them; None only counts.

    At most STEP jobs and STEP_PATIENCE seconds, in batches of BATCH. Returns the step and up to
    five of the jobs.
    """
    task, error = group
    where = JobFilter(states=_DEAD, task=task, error=error)
    deadline, seen, changed, samples = time.monotonic() + STEP_PATIENCE, 0, 0, list[JobRecord]()
    while seen < STEP and time.monotonic() < deadline:
        page = store.find(where, limit=BATCH, after=after, now=now)
        mine = [record for record in page if record.error == error]
        samples += mine[: 5 - len(samples)]
        seen += len(mine)
        if mine and action is not None:
            ids = tuple(record.id for record in mine)
            changed += store.change(JobFilter(ids=ids, states=_DEAD), action, limit=BATCH)
        if len(page) < BATCH:
            return Step(changed=changed, looked_at=seen, next=None), samples
        after = page[-1].id
    return Step(changed=changed, looked_at=seen, next=after), samples


def group_model(group: Group) -> dict[str, Any]:
    """Return a group of dead jobs as pages and programs see it."""
    names = ("task", "error", "count", "first_at", "last_at", "message", "newest", "queues")
    return {name: getattr(group, name) for name in names}


def group_bars(group: Group) -> Markup:
    """Return when a group's jobs died, as bars from its first to its last."""
    first, last = group.first_at or 0.0, group.last_at or 0.0
    over = duration(last - first)
    said = f"{plural(group.count, 'death')} over {over}"
    return charts.bars(group.slices(first, last), title=said)
