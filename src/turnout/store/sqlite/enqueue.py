"""The verb `enqueue`: record jobs in one transaction, ours or the caller's.

Order: which ids are known, which unique keys are free, then rows. Two statements a job; everything
else is once a batch.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from turnout.store.sqlite.base import Q, Turn, ids_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from turnout.job import JobId, NewJob, Unique

decode_body = msgspec.json.decode


def enqueue(
    turn: Turn, executemany: Callable[..., Any], jobs: Sequence[NewJob]
) -> list[JobId | None]:
    """Record `jobs` and return their ids, None where a unique key is taken."""
    known = _known(turn, jobs)
    taken: set[JobId] = set()
    fresh: list[NewJob] = []
    for job in jobs:
        if job.id in known:
            continue
        if job.unique is not None and not _claim(turn, job.id, job.unique):
            taken.add(job.id)
            continue
        known.add(job.id)
        fresh.append(job)
    _insert(turn, executemany, fresh)
    return [None if job.id in taken else job.id for job in jobs]


def _known(turn: Turn, jobs: Sequence[NewJob]) -> set[JobId]:
    ids = [job.id for job in jobs]
    if turn.execute(Q["newest_known"]).fetchone()[0] < min(ids):
        return set()
    known = {row[0] for row in turn.execute(Q["known"], (ids_text(ids),) * 2)}
    for _n, body in turn.execute(Q["traced_between"], (min(ids), max(ids))):
        known.update({entry[0] for entry in decode_body(body)}.intersection(ids))
    return known


def _claim(turn: Turn, job_id: JobId, unique: Unique) -> bool:
    row = turn.execute(Q["unique_holder"], (unique.key,)).fetchone()
    if row is not None and (row[1] is None or row[1] > turn.now):
        return False
    expires_at = None if unique.ttl is None else turn.now + unique.ttl
    turn.execute(Q["claim_unique"], (unique.key, job_id, unique.until, expires_at))
    return True


def _insert(turn: Turn, executemany: Callable[..., Any], jobs: list[NewJob]) -> None:
    now = turn.now
    ready = [job for job in jobs if job.run_at is None or job.run_at <= now]
    scheduled = [job for job in jobs if job.run_at is not None and job.run_at > now]
    executemany(Q["insert_job"], [_row(job, now) for job in jobs])
    executemany(
        Q["insert_ready"],
        [(job.queue, -job.priority, job.run_at or now, job.id) for job in ready],
    )
    for queue, n in Counter([job.queue for job in ready]).items():
        turn.add(queue, "ready", n)
    if scheduled:
        executemany(
            Q["insert_scheduled"],
            [(job.run_at, job.id, job.queue, -job.priority) for job in scheduled],
        )
        for queue, n in Counter([job.queue for job in scheduled]).items():
            turn.add(queue, "scheduled", n)


def _row(job: NewJob, now: float) -> tuple[Any, ...]:
    unique = job.unique
    return (
        job.id,
        job.task,
        job.queue,
        job.args,
        job.priority,
        now,
        job.run_at or now,
        job.expires_at,
        job.context,
        None if unique is None else unique.key,
        None if unique is None else unique.until,
    )
