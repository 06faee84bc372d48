"""The verb `enqueue`: jobs as one message for the script, the many plain ones by queue."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from turnout.store.redis.payload import rest_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.job import JobId, NewJob

pack = msgspec.msgpack.encode


def enqueue_message(jobs: Sequence[NewJob]) -> bytes:
    """Return the script's message; a job that is repeated counts where it came first."""
    plain: dict[str, dict[JobId, str]] = defaultdict(dict)
    others: dict[JobId, tuple[Any, ...]] = {}
    for job in jobs:
        if job.id in others:
            continue
        if job.run_at is None and job.priority == 0 and job.unique is None:
            plain[job.queue].setdefault(job.id, rest_of(job))
        elif job.id not in plain.get(job.queue, ()):
            others[job.id] = _other(job)
    groups: list[tuple[str, list[JobId], list[str]]] = []
    for queue, rests in plain.items():
        ids = sorted(rests)
        groups.append((queue, ids, [rests[job_id] for job_id in ids]))
    return pack((groups, list(others.values())))


def _other(job: NewJob) -> tuple[Any, ...]:
    unique = job.unique
    return (
        job.id,
        job.queue,
        job.priority,
        False if job.run_at is None else repr(float(job.run_at)),
        rest_of(job),
        False if unique is None else unique.key,
        False if unique is None else unique.until,
        False if unique is None else unique.ttl or False,
    )


def read_ids(jobs: Sequence[NewJob], taken: Sequence[bytes]) -> list[JobId | None]:
    """Return the ids of a batch, None where the unique key was taken."""
    if not taken:
        return [job.id for job in jobs]
    refused = {one.decode() for one in taken}
    return [None if job.id in refused else job.id for job in jobs]
