"""The verb `enqueue`: record jobs in one transaction, ours or the caller's.

Order: which ids are known, which unique keys are free, then rows. Two statements a job; everything
else is once a batch.
"""

from __future__ import annotations

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
    known = {row[0] for row in turn.execute(Q["known"], (ids_text(ids),))}
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
    rows, ready, scheduled = [], [], []
    for job in jobs:
        run_at = now if job.run_at is None else job.run_at
        key, until = (job.unique.key, job.unique.until) if job.unique else (None, None)
        head = (job.id, job.task, job.queue, job.args, job.priority, now, run_at)
        rows.append((*head, job.expires_at, job.context, key, until))
        if run_at <= now:
            ready.append((job.queue, -job.priority, run_at, job.id))
        else:
            scheduled.append((run_at, job.id, job.queue, -job.priority))
    executemany(Q["insert_job"], rows)
    executemany(Q["insert_ready"], ready)
    executemany(Q["insert_scheduled"], scheduled)
    for queue, *_ in ready:
        turn.add(queue, "ready")
    for _, _, queue, _ in scheduled:
        turn.add(queue, "scheduled")
