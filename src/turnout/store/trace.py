"""The trace of plain successes: what one row a settled batch keeps, and how it is read back.

Nearly all jobs succeed at once, with nothing to tell. Their trace is one row for all that were
settled together; this file owns its form, for every store with tables.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import msgspec

from turnout.job import JobFilter, JobId, JobRecord, Outcome, Retention, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


def is_plain(outcome: Outcome) -> bool:
    """Tell whether a success has nothing to tell, so that its trace is enough."""
    job = outcome.job
    return (
        outcome.state is State.SUCCEEDED
        and outcome.result is None
        and outcome.reason is None
        and job.trail is None
        and job.unique is None
    )


def trace_entry(outcome: Outcome) -> tuple[str, str, int, int, float, float, int, float, float]:
    """Return what the trace of a plain success keeps."""
    job = outcome.job
    return (
        job.id,
        job.task,
        outcome.attempt,
        job.crashes,
        job.enqueued_at,
        job.run_at,
        job.priority,
        outcome.started_at,
        outcome.finished_at,
    )


def overdue(now: float, keep: float, most: int) -> Callable[[list[Any]], bool]:
    """Return what refuses the entries of a row that are past their time, at most so many."""
    left = most

    def keeps(entry: list[Any]) -> bool:
        nonlocal left
        if left <= 0 or entry[8] + keep >= now:
            return True
        left -= 1
        return False

    return keeps


def ended_rules(retention: Retention) -> dict[str, tuple[float, int]]:
    """Return how old records of what did not succeed may be, and how many each queue keeps."""
    ended = (retention.ended_age, retention.ended_count)
    dead = (retention.dead_age, retention.dead_count)
    return {State.DEAD.value: dead, State.DISCARDED.value: ended, State.CANCELLED.value: ended}


def bounds(where: JobFilter, after: JobId | None, mark: str) -> tuple[list[str], list[object]]:
    """Return terms that narrow the trace's rows, and their values; `mark` stands for one."""
    terms: list[str] = []
    values: list[object] = []
    for term, value in (
        ("first_id < ", after),
        ("queue = ", where.queue),
        ("last_id >= ", min(where.ids, default=None)),
        ("first_id <= ", max(where.ids, default=None)),
        ("body LIKE ", None if where.task is None else _names(where.task)),
    ):
        if value is not None:
            terms.append(term + mark)
            values.append(value)
    return terms, values


def _names(task: str) -> str:
    """Return a LIKE pattern that no body without this task fits, and hardly any other."""
    return f"%{msgspec.json.encode(task).decode()}%".replace("\\", "_")


def read_traces(
    rows: Iterable[tuple[str, str, str, str]], where: JobFilter, after: JobId | None
) -> Iterator[JobRecord]:
    """Yield plain successes, newest id first, out of rows (queue, worker, last id, body).

    The rows come by their last id, newest first. Batches overlap in their ids. A batch whose last
    id lies below what is still held back cannot hold a newer one, so a heap of opened batches gives
    the exact order without opening them all.
    """
    held: list[tuple[str, int, JobRecord]] = []
    serial = 0
    for queue, worker, last_id, body in rows:
        while held and held[0][2].id > last_id:
            yield heapq.heappop(held)[2]
        for entry in msgspec.json.decode(body):
            record = _record(entry, queue, worker)
            if _matches(record, where, after):
                serial += 1
                heapq.heappush(held, (_reversed(record.id), serial, record))
    while held:
        yield heapq.heappop(held)[2]


_FLIP = str.maketrans("0123456789abcdef", "fedcba9876543210")


def _reversed(job_id: str) -> str:
    """Return a key that sorts the other way round, so that a min-heap yields the newest."""
    return job_id.translate(_FLIP)


def _record(entry: list[Any], queue: str, worker: str) -> JobRecord:
    job_id, task, attempt, crashes, enqueued_at, run_at, priority, started_at, finished_at = entry
    return JobRecord(
        id=job_id,
        task=task,
        queue=queue,
        state=State.SUCCEEDED,
        priority=priority,
        attempt=attempt,
        crashes=crashes,
        enqueued_at=enqueued_at,
        run_at=run_at,
        started_at=started_at,
        finished_at=finished_at,
        worker=worker,
    )


def _matches(record: JobRecord, where: JobFilter, after: JobId | None) -> bool:
    enqueued_at = record.enqueued_at or 0.0
    return (
        (after is None or record.id < after)
        and (not where.ids or record.id in where.ids)
        and (where.task is None or record.task == where.task)
        and (where.before is None or enqueued_at < where.before)
        and (where.since is None or enqueued_at >= where.since)
    )
