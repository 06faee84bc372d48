"""Who holds a limit's slots: running jobs that carry it, the longest first.

Stores count the marks of a limit and do not list them; what a running job carries tells the same.
The invariant: at most MOST running jobs are read, however many there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from turnout.job import JobFilter, JobId, State
from turnout.limits.carried import carried_by

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from turnout.job import JobRecord
    from turnout.limits.carried import Carried
    from turnout.store.protocol import Store

MOST, SHOWN = 500, 20


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """A running job that holds a slot of `key`, a limit's or a dependency's."""

    key: str
    job: JobId
    task: str
    worker: str | None
    since: float | None


def holders(store: Store, keys: Collection[str], *, now: float) -> list[Holder]:
    """Return who holds slots of these keys, named as in `keys_of`; at most SHOWN of each."""
    if not keys:
        return []
    running = store.find(JobFilter(states=(State.RUNNING,)), limit=MOST, now=now)
    found = [one for record in running for one in _held(record, keys)]
    found.sort(key=lambda one: (one.key, one.since or 0.0))
    return list(_first(found))


def keys_of(carried: Carried) -> list[str]:
    """Return the keys whose slots a job holds while it runs: those of limits of concurrency."""
    keys = [limit.name for limit in carried.limits if limit.held]
    return keys + ([f"dependency:{carried.dependency}"] if carried.dependency else [])


def _held(record: JobRecord, keys: Collection[str]) -> Iterable[Holder]:
    carried = carried_by(record.context or "")
    for key in keys_of(carried) if carried else ():
        if key in keys:
            yield Holder(
                key=key,
                job=record.id,
                task=record.task,
                worker=record.worker,
                since=record.started_at,
            )


def _first(found: Iterable[Holder]) -> Iterable[Holder]:
    counts: dict[str, int] = {}
    for one in found:
        counts[one.key] = counts.get(one.key, 0) + 1
        if counts[one.key] <= SHOWN:
            yield one
