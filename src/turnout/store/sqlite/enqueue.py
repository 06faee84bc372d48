"""The verb `enqueue`: record jobs in one transaction, ours or the caller's.

Order: which ids are known, which unique keys are free, then rows. Jobs that differ in nothing but
id and arguments, as those of one bulk enqueue do, are written by two statements together: a
statement of Python's sqlite3 costs 3 us, a row within one 1 us.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from turnout.store.sqlite.base import Q, Turn, ids_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from turnout.job import JobId, NewJob, Unique

_NEWEST = Q["newest_known"]
decode_body = msgspec.json.decode
encode = msgspec.json.encode
_Shape = tuple[str, str, int, float, float | None, str | None, str | None]


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
    if turn.execute(_NEWEST).fetchone()[0] < min(ids):
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
    if len(jobs) == 1:
        turn.execute(Q["insert_job"], _row(jobs[0], turn.now))
        _place(turn, jobs[0])
        return
    groups: defaultdict[_Shape, list[NewJob]] = defaultdict(list)
    for job in jobs:
        groups[_shape(job, turn.now)].append(job)
    alone = []
    for shape, group in groups.items():
        if len(group) > 1 and shape[-1] is None:  # no unique key
            _insert_alike(turn, shape, group)
        else:
            alone += group
    _insert_rows(turn, executemany, alone)


def _shape(job: NewJob, now: float) -> _Shape:
    """All of a job but its id and arguments."""
    held = None if job.unique is None else job.unique.key
    return job.task, job.queue, job.priority, job.run_at or now, job.expires_at, job.context, held


def _insert_alike(turn: Turn, shape: _Shape, group: list[NewJob]) -> None:
    _task, queue, priority, run_at, *_ = shape
    body = encode({job.id: job.args for job in group}).decode()
    turn.execute(Q["insert_alike"], (turn.now, *shape[:-1], body))
    ids = ids_text([job.id for job in group])
    if run_at <= turn.now:
        turn.execute(Q["insert_alike_ready"], (queue, -priority, run_at, ids))
        turn.add(queue, "ready", len(group))
    else:
        turn.execute(Q["insert_alike_scheduled"], (run_at, queue, -priority, ids))
        turn.add(queue, "scheduled", len(group))


def _insert_rows(turn: Turn, executemany: Callable[..., Any], jobs: list[NewJob]) -> None:
    executemany(Q["insert_job"], [_row(job, turn.now) for job in jobs])
    for job in jobs:
        _place(turn, job)


def _place(turn: Turn, job: NewJob) -> None:
    turn.place(job.id, job.queue, -job.priority, job.run_at or turn.now)


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
