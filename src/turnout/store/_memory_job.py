"""One job as the memory store holds it: mutable, and the values that can be made of it.

The one invariant: nothing in here is handed out. What leaves is a frozen `LeasedJob` or
`JobRecord`, so that no caller can change what the store holds.
"""

from __future__ import annotations

import msgspec

from turnout.crash import Evidence, crash_entry
from turnout.job import (
    JobFilter,
    JobId,
    JobRecord,
    LeasedJob,
    NewJob,
    State,
    Trail,
    Unique,
)


class StoredJob(msgspec.Struct, kw_only=True):
    """A job in the store. `ahead` says that it stands among the scheduled ones of its queue."""

    id: JobId
    task: str
    queue: str
    args: str | None
    priority: int
    enqueued_at: float
    run_at: float
    expires_at: float | None = None
    context: str | None = None
    unique: Unique | None = None
    state: State = State.QUEUED
    ahead: bool = False
    attempt: int = 0
    crashes: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    keep_until: float | None = None  # of a success
    worker: str | None = None
    error: str | None = None
    reason: str | None = None
    result: str | None = None
    progress: str | None = None
    trail: str | None = None
    cancel_requested: bool = False

    @classmethod
    def from_new(cls, new: NewJob, now: float) -> StoredJob:
        """Return the job that an enqueue at `now` records."""
        return cls(
            id=new.id,
            task=new.task,
            queue=new.queue,
            args=new.args,
            priority=new.priority,
            enqueued_at=now,
            run_at=now if new.run_at is None else new.run_at,
            expires_at=new.expires_at,
            context=new.context,
            unique=new.unique,
        )

    @property
    def slot(self) -> str:
        """The counter of its queue that this job is counted under."""
        if self.state is State.QUEUED:
            return "scheduled" if self.ahead else "ready"
        return self.state.value

    @property
    def finish_key(self) -> str | None:
        """The key it holds until it finishes, if it was enqueued with one."""
        unique = self.unique
        return unique.key if unique is not None and unique.until == "finish" else None

    @property
    def is_plain(self) -> bool:
        """True when a success has nothing to tell but that it happened, so that a trace will do."""
        told = (self.result, self.reason, self.trail, self.progress, self.finish_key)
        return not self.cancel_requested and all(part is None for part in told)

    def shrink_to_trace(self) -> None:
        """Forget what the trace of a success has no room for: arguments, context, unique key."""
        self.args = self.context = self.unique = None

    def history(self) -> Trail:
        """Return the attempts so far."""
        if self.trail is None:
            return Trail()
        return msgspec.json.decode(self.trail, type=Trail)

    def add_crash(self, now: float, evidence: Evidence | None) -> None:
        """Count a crash, never an attempt, and write it into the history."""
        self.crashes += 1
        self.error = None
        since = now if self.started_at is None else self.started_at
        entry = crash_entry(self.attempt + 1, (since, now), self.worker or "", evidence)
        past = self.history()
        self.trail = _as_json(Trail((*past.attempts, entry), past.counts))

    def start_afresh(self) -> None:
        """Forget counts, error and outcome, as a person's retry asks; the history stays."""
        self.attempt = self.crashes = 0
        self.error = self.reason = self.result = self.progress = None
        self.cancel_requested = False
        if self.trail is not None:
            self.trail = _as_json(Trail(self.history().attempts))

    def leased(self, fence: int) -> LeasedJob:
        """Return the job as its worker receives it."""
        return LeasedJob(
            id=self.id,
            task=self.task,
            queue=self.queue,
            args=self.args or "{}",
            priority=self.priority,
            attempt=self.attempt,
            crashes=self.crashes,
            enqueued_at=self.enqueued_at,
            run_at=self.run_at,
            expires_at=self.expires_at,
            context=self.context,
            trail=self.trail,
            unique=self.finish_key,
            fence=fence,
        )

    def record(self) -> JobRecord:
        """Return everything known of this job."""
        return JobRecord(
            id=self.id,
            task=self.task,
            queue=self.queue,
            state=self.state,
            args=self.args,
            priority=self.priority,
            attempt=self.attempt,
            crashes=self.crashes,
            enqueued_at=self.enqueued_at,
            run_at=self.run_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            expires_at=self.expires_at,
            worker=self.worker,
            error=self.error,
            reason=self.reason,
            result=self.result,
            progress=self.progress,
            context=self.context,
            unique_key=None if self.unique is None else self.unique.key,
            cancel_requested=self.cancel_requested,
            attempts=self.history().attempts,
        )


def matches(job: StoredJob, where: JobFilter, now: float) -> bool:
    """Tell whether everything that `where` gives holds for this job."""
    return (
        (not where.ids or job.id in where.ids)
        and (not where.states or job.state in where.states)
        and (where.queue is None or job.queue == where.queue)
        and (where.task is None or job.task == where.task)
        and (where.error is None or _same_error(job.error, where.error))
        and _within_view(job, where, now)
        and _within_time(job, where)
    )


def _within_view(job: StoredJob, where: JobFilter, now: float) -> bool:
    if where.view is None:
        return True
    if job.state is not State.QUEUED:
        return False
    if where.view == "retrying":
        return job.attempt > 0
    return (job.run_at <= now) == (where.view == "ready")


def _within_time(job: StoredJob, where: JobFilter) -> bool:
    at = job.enqueued_at
    return (where.before is None or at < where.before) and (
        where.since is None or at >= where.since
    )


def _same_error(error: str | None, wanted: str) -> bool:
    return error is not None and wanted in (error, error.rpartition(".")[2])


def _as_json(trail: Trail) -> str:
    return msgspec.json.encode(trail).decode()
