"""Short ways to make jobs, workers and outcomes, so that a test shows only what it is about.

Time in these tests is a number: `T` is noon, and every verb is told what time it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import msgspec

from turnout.errors import WithinError
from turnout.job import (
    AttemptRecord,
    JobFilter,
    JobId,
    JobRecord,
    LeasedJob,
    NewJob,
    Outcome,
    QueueStats,
    State,
    Trail,
    Unique,
    Want,
    WorkerInfo,
)
from turnout.store.protocol import Store

T = 1_700_000_000.0
HOUR, DAY = 3_600.0, 86_400.0
ALL = JobFilter()
ERROR = "shop.errors.CardDeclined"


def job_id(n: int) -> JobId:
    """Return the n-th id: larger n, newer job."""
    return JobId(f"018f0000-0000-7000-8000-{n:012x}")


def number(any_id: JobId) -> int:
    """Return the n of `job_id(n)`."""
    return int(any_id[-12:], 16)


def numbers(jobs: Iterable[Any]) -> list[int]:
    """Return the numbers of jobs, records or ids, in their order."""
    return [number(job if isinstance(job, str) else job.id) for job in jobs]


def new_job(n: int, queue: str = "default", **fields: Any) -> NewJob:
    """Make the n-th job."""
    fields.setdefault("task", "shop.charge")
    fields.setdefault("args", f'{{"order_id":{n}}}')
    return NewJob(id=job_id(n), queue=queue, **fields)


def unique_job(n: int, key: str = "k", until: Any = "finish", ttl: float | None = None) -> NewJob:
    """Make the n-th job with a unique key."""
    return new_job(n, unique=Unique(key, until, ttl))


def put(store: Store, *jobs: NewJob, now: float = T) -> list[JobId | None]:
    """Enqueue these jobs in one call."""
    return store.enqueue(jobs, now=now)


def worker(epoch: str = "e1", **fields: Any) -> WorkerInfo:
    """Describe a worker; its name is `host:` and its epoch."""
    fields.setdefault("queues", ("*",))
    fields.setdefault("name", f"host:{epoch}")
    return WorkerInfo(epoch=epoch, host="host", pid=1, concurrency=10, started_at=T, **fields)


def open_epoch(store: Store, epoch: str = "e1", *, ttl: float = 30.0, now: float = T) -> None:
    """Send the first heartbeat of an epoch."""
    assert not store.heartbeat(worker(epoch), ttl=ttl, now=now).lost


def stop_epoch(store: Store, epoch: str = "e1", *, now: float = T) -> None:
    """End an epoch in good order."""
    store.heartbeat(worker(epoch, state="stopped"), ttl=30.0, now=now)


def want(*queues: str, room: int = 100, limit: int = 100) -> Want:
    """Ask for these queues in this order, or for all."""
    return Want(tuple((queue, room) for queue in queues or ("*",)), limit)


def lease(
    store: Store, *queues: str, epoch: str = "e1", limit: int = 100, now: float = T
) -> list[LeasedJob]:
    """Lease what is ready."""
    return store.exchange(epoch, [], want(*queues, limit=limit), now=now).leased


def settle(store: Store, *outcomes: Outcome, epoch: str = "e1", now: float = T) -> list[int]:
    """Settle outcomes and lease nothing; return the numbers of what was still ours."""
    return numbers(store.exchange(epoch, outcomes, None, now=now).settled)


def running(store: Store, *jobs: NewJob, epoch: str = "e1", now: float = T) -> list[LeasedJob]:
    """Enqueue jobs and lease them at once, opening the epoch."""
    open_epoch(store, epoch, now=now)
    put(store, *jobs, now=now)
    return lease(store, epoch=epoch, now=now)


# ---- outcomes


def entry(job: LeasedJob, outcome: str, error: str | None = None, at: float = T) -> AttemptRecord:
    """Make the history entry of an attempt that took one second."""
    return AttemptRecord(
        attempt=job.attempt + 1,
        started_at=at - 1,
        finished_at=at,
        worker="host:e1",
        outcome=outcome,
        error=error,
    )


def trail_with(job: LeasedJob, new: AttemptRecord) -> str:
    """Return the job's history with one more entry, and one more use of the default rule."""
    past = msgspec.json.decode(job.trail, type=Trail) if job.trail else Trail()
    counts = {"default": past.counts.get("default", 0) + 1}
    return msgspec.json.encode(Trail((*past.attempts, new), counts)).decode()


def succeeded(
    job: LeasedJob, *, at: float = T, keep: float = HOUR, result: str | None = None
) -> Outcome:
    """Conclude that the task returned."""
    return Outcome.succeeded(job, at - 1, at, keep=keep, result=result)


def retried(job: LeasedJob, *, run_at: float, at: float = T, error: str = ERROR) -> Outcome:
    """Conclude that the task failed and may try again."""
    new = entry(job, "retried", error, at)
    return Outcome.retried(job, new, trail_with(job, new), run_at=run_at)


def snoozed(job: LeasedJob, *, run_at: float, at: float = T) -> Outcome:
    """Conclude that the task asked for more time."""
    new = entry(job, "snoozed", None, at)
    return Outcome.snoozed(job, new, trail_with(job, new), run_at=run_at)


def ended(
    job: LeasedJob, state: Any = State.DEAD, *, at: float = T, error: str | None = ERROR
) -> Outcome:
    """Conclude that the job is over without success."""
    new = entry(job, state.value, error, at)
    return Outcome.ended(job, state, new, trail_with(job, new), reason="because")


def bury(store: Store, *jobs: NewJob, state: Any = State.DEAD, now: float = T) -> None:
    """Bring jobs to a final state that is not success, through a worker of their own."""
    epoch = f"burial of {jobs[0].id} at {now}"
    leased = running(store, *jobs, epoch=epoch, now=now)
    settle(store, *(ended(job, state, at=now) for job in leased), epoch=epoch, now=now)
    stop_epoch(store, epoch, now=now)


def finish(
    store: Store, *jobs: NewJob, now: float = T, keep: float = HOUR, result: str | None = None
) -> None:
    """Bring jobs to success, through a worker of their own."""
    epoch = f"finish of {jobs[0].id} at {now}"
    leased = running(store, *jobs, epoch=epoch, now=now)
    outcomes = [succeeded(job, at=now, keep=keep, result=result) for job in leased]
    settle(store, *outcomes, epoch=epoch, now=now)
    stop_epoch(store, epoch, now=now)


# ---- an application's own table


def run_sql(connection: Any, statement: str) -> list[Any]:
    """Run one statement by the DB-API and return its rows, if it has any."""
    cursor = connection.cursor()
    try:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []
    finally:
        cursor.close()


def run_ddl(store: Store, statement: str) -> None:
    """Make or drop a table of the application: MySQL commits that by itself, and is told off."""
    with suppress(WithinError), store.transaction() as connection:
        run_sql(connection, statement)


# ---- looking


def record(store: Store, n: int, *, now: float = T) -> JobRecord | None:
    """Return what is known of the n-th job."""
    found = store.find(JobFilter(ids=(job_id(n),)), now=now)
    return found[0] if found else None


def known(store: Store, n: int, *, now: float = T) -> JobRecord:
    """Return the record of the n-th job, which must be there."""
    found = record(store, n, now=now)
    assert found is not None
    return found


def state_of(store: Store, n: int) -> State | None:
    """Return the state of the n-th job; None when nothing is known of it."""
    found = record(store, n)
    return found.state if found else None


def found(store: Store, *, now: float = T, **fields: Any) -> list[int]:
    """Return the numbers of the jobs that a filter finds."""
    return numbers(store.find(JobFilter(**fields), now=now))


def stats(store: Store, queue: str = "default", *, now: float = T) -> QueueStats:
    """Return the numbers of one queue; all zero when it is unknown."""
    by_name = {each.queue: each for each in store.count(now=now)}
    return by_name.get(queue, QueueStats(queue=queue))
