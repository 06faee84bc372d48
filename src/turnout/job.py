"""The values that travel between floors: jobs, outcomes, filters, workers. All frozen.

A job is one recorded call of a task. Its stored states:

                      lease                    succeeded
        enqueue -> queued -------> running --> dead        (gave up; a person may look)
                     ^               |         discarded   (gave up on purpose)
                     |               |         cancelled   (stopped by a person or program)
                     +---------------+
             retried, snoozed, released, reaped

"Scheduled" (queued, `run_at` ahead) and "retrying" (queued, attempt > 0) are views of
`queued`, not states. Times are seconds since the epoch by the store's clock; durations
are seconds. The one invariant: an `Outcome` names the lease (`job.fence`) under which it
was reached, and a store applies it only while that lease is alive.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Literal, NewType, Self

import msgspec

from turnout.terms import Terms

JobId = NewType("JobId", str)
Struct = msgspec.Struct


class State(StrEnum):
    """Where a job stands. Final states are never left, except by a person's `retry`."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    DISCARDED = "discarded"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True when nothing will run this job any more."""
        return self is not State.QUEUED and self is not State.RUNNING


class Unique(Struct, frozen=True, gc=False):
    """A claim that at most one job holds `key`.

    `until` tells when the key becomes free: "start" when the job is leased, "finish" when it
    reaches a final state, "time" only `ttl` seconds after the enqueue. A `ttl` with the first
    two is a ceiling: the key is free after that long in any case.
    """

    key: str
    until: Literal["start", "finish", "time"] = "finish"
    ttl: float | None = None


class NewJob(Struct, frozen=True, kw_only=True, gc=False):
    """What an enqueue records. `args` and `context` are JSON objects as text."""

    id: JobId
    task: str
    queue: str
    args: str
    priority: int = 0  # -100..100, larger sooner
    run_at: float | None = None  # None: now, by the store's clock
    expires_at: float | None = None  # not started by then: discarded
    unique: Unique | None = None
    context: str | None = None  # registered contextvars that travel with the job


class LeasedJob(Struct, frozen=True, gc=False):
    """A job as the worker receives it, under a fence. Field order is the adapters' row order."""

    id: JobId
    task: str
    queue: str
    args: str
    priority: int
    attempt: int  # attempts counted so far; the run that follows is number attempt + 1
    crashes: int  # workers that died under it
    enqueued_at: float
    run_at: float
    expires_at: float | None
    context: str | None
    trail: str | None  # a Trail as JSON; None while nothing has gone wrong yet
    unique: str | None  # the key it holds until it finishes
    fence: int  # the lease
    terms: Terms | None = None  # what the job itself says of its retries


class AttemptRecord(Struct, frozen=True, omit_defaults=True):
    """One attempt as kept in a job's history."""

    attempt: int
    started_at: float
    finished_at: float
    worker: str
    outcome: str  # retried, snoozed, dead, discarded, cancelled, succeeded, crashed, released
    error: str | None = None  # the exception's qualified name
    message: str | None = None
    traceback: str | None = None


class Trail(Struct, frozen=True, omit_defaults=True):
    """A job's history so far, and how often each retry rule has been used."""

    attempts: tuple[AttemptRecord, ...] = ()
    counts: dict[str, int] = {}


class Outcome(Struct, frozen=True, kw_only=True, gc=False):
    """What an attempt concluded. Build it by the named constructors only."""

    job: LeasedJob
    state: State
    started_at: float
    finished_at: float
    attempt: int  # the count to store
    run_at: float | None = None  # with QUEUED: when to try again; None: at once, in its old place
    trail: str | None = None  # the new history as JSON; None: unchanged
    error: str | None = None  # the last exception's qualified name
    reason: str | None = None  # why discarded, cancelled or dead, in words
    result: str | None = None  # JSON
    keep: float = 0.0  # seconds to keep the record of a success, its result included
    crashes: int | None = None  # the new count, when its process died; None: unchanged
    settled: bool = False  # applied already, in the transaction of the attempt itself
    exception: BaseException | None = None  # for listeners in this process; no store reads it

    @classmethod
    def succeeded(
        cls,
        job: LeasedJob,
        started_at: float,
        finished_at: float,
        *,
        keep: float,
        result: str | None = None,
        reason: str | None = None,
    ) -> Self:
        """Return the outcome of a task that returned; `reason` notes a result not kept."""
        return cls(
            job=job,
            state=SUCCEEDED,
            started_at=started_at,
            finished_at=finished_at,
            attempt=job.attempt + 1,
            keep=keep,
            result=result,
            reason=reason,
        )

    @classmethod
    def retried(cls, job: LeasedJob, entry: AttemptRecord, trail: str, *, run_at: float) -> Self:
        """Try again at `run_at`; the attempt counts."""
        return cls(
            job=job,
            state=State.QUEUED,
            started_at=entry.started_at,
            finished_at=entry.finished_at,
            attempt=job.attempt + 1,
            run_at=run_at,
            trail=trail,
            error=entry.error,
        )

    @classmethod
    def snoozed(cls, job: LeasedJob, entry: AttemptRecord, trail: str, *, run_at: float) -> Self:
        """Try again at `run_at`; the attempt does not count."""
        return cls(
            job=job,
            state=State.QUEUED,
            started_at=entry.started_at,
            finished_at=entry.finished_at,
            attempt=job.attempt,
            run_at=run_at,
            trail=trail,
        )

    @classmethod
    def released(cls, job: LeasedJob, now: float, *, run_at: float | None = None) -> Self:
        """Put back unrun: at its old place in the queue, or not before `run_at`."""
        return cls(
            job=job,
            state=State.QUEUED,
            started_at=now,
            finished_at=now,
            attempt=job.attempt,
            run_at=run_at,
        )

    @classmethod
    def ended(
        cls,
        job: LeasedJob,
        state: Literal[State.DEAD, State.DISCARDED, State.CANCELLED],
        entry: AttemptRecord,
        trail: str,
        *,
        reason: str | None = None,
    ) -> Self:
        """Return a final outcome that is not a success, with its history."""
        return cls(
            job=job,
            state=state,
            started_at=entry.started_at,
            finished_at=entry.finished_at,
            attempt=job.attempt + 1,
            trail=trail,
            error=entry.error,
            reason=reason,
        )


class Want(Struct, frozen=True):
    """What a worker can take: queues in the order to serve them, each with its own room."""

    queues: tuple[tuple[str, int], ...]
    limit: int
    implied: frozenset[str] = frozenset()  # of these, what nobody named: as "*", never Ruby's


class Exchanged(Struct, frozen=True):
    """The answer of one round trip. `lost` says that the epoch is no longer ours."""

    settled: list[JobId]
    leased: list[LeasedJob]
    lost: bool = False
    away: frozenset[JobId] = frozenset()  # not settled: their store is away, ask again


class WorkerInfo(Struct, frozen=True, kw_only=True):
    """One worker process. `epoch` is made anew at every start and after every loss."""

    epoch: str
    name: str  # host:pid:nonce
    host: str  # where `pid` means something: host name, boot and pid namespace
    pid: int
    queues: tuple[str, ...]
    concurrency: int
    started_at: float
    running: int = 0
    state: Literal["running", "quiet", "stopping", "stopped"] = "running"
    version: str = ""
    rss: int | None = None  # bytes of memory that are its own or shared, where the system tells
    on_crash: dict[str, str] = {}  # the tasks whose jobs are not simply run again after a crash
    slowed: dict[str, str] = {}  # queues that yield to others here: how far, and why
    bell: int | None = None  # where to ring when a job is ready (SQLite: a loopback UDP port)
    deadline: float = 0.0  # set by the store: dead after this


SUCCEEDED = State.SUCCEEDED  # for every job: looked up on its class it takes 0.1 us
Order = Literal["quiet", "stop", "dump"]


class Orders(Struct, frozen=True):
    """What a heartbeat brings back."""

    lost: bool = False  # the epoch was reaped: stop what runs, begin a new epoch
    cancel: frozenset[JobId] = frozenset()  # running jobs that somebody asked to stop
    quiet: bool = False
    stop: bool = False
    dump: bool = False  # the stacks of all threads, to stderr
    gone: frozenset[JobId] = frozenset()  # running jobs that are not ours any more

    @classmethod
    def told(cls, cancel: Iterable[JobId], orders: Collection[str]) -> Self:
        """Return what stores keep: the jobs asked to stop, and orders by name."""
        return cls(
            cancel=frozenset(cancel),
            quiet="quiet" in orders,
            stop="stop" in orders,
            dump="dump" in orders,
        )


class Reaped(Struct, frozen=True):
    """A job taken back from a dead worker, and where it went.

    QUEUED, or DEAD as poison, or CANCELLED when somebody had asked for that, or as `on_crash` says.
    """

    id: JobId
    task: str
    queue: str
    crashes: int
    state: State


class JobRecord(Struct, frozen=True, kw_only=True):
    """Everything that is known of a job, in whatever state it is."""

    id: JobId
    task: str
    queue: str
    state: State
    args: str | None = None  # None once only the trace of a success is left
    priority: int = 0
    attempt: int = 0
    crashes: int = 0
    enqueued_at: float | None = None
    run_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    expires_at: float | None = None
    worker: str | None = None
    error: str | None = None
    reason: str | None = None
    result: str | None = None
    progress: str | None = None  # JSON, as the job last reported it
    context: str | None = None
    unique_key: str | None = None
    cancel_requested: bool = False
    attempts: tuple[AttemptRecord, ...] = ()

    @property
    def message(self) -> str | None:
        """What the last error said, or None when there was none."""
        if self.error is None:
            return None
        return next((one.message for one in reversed(self.attempts) if one.error), None)

    @property
    def why(self) -> str:
        """Why it is where it is: the error, what it said and what followed; "" for none."""
        return ": ".join(filter(None, (self.error, self.message, self.reason)))


View = Literal["ready", "scheduled", "retrying"]
Action = Literal["retry", "cancel", "delete"]


class JobFilter(Struct, frozen=True, kw_only=True):
    """Which jobs an operator means; everything given must hold, and nothing given means all.

    `view` narrows `queued`: ready (due), scheduled (ahead), retrying (attempt > 0).
    `before` and `since` bound `enqueued_at`.
    """

    ids: tuple[JobId, ...] = ()
    states: tuple[State, ...] = ()
    view: View | None = None
    queue: str | None = None
    task: str | None = None
    error: str | None = None
    before: float | None = None
    since: float | None = None


class QueueStats(Struct, frozen=True, kw_only=True):
    """One queue's numbers, from maintained counters."""

    queue: str
    paused: bool = False
    ready: int = 0
    scheduled: int = 0
    running: int = 0
    succeeded: int = 0  # of those still kept
    dead: int = 0
    discarded: int = 0
    cancelled: int = 0
    oldest_at: float | None = None  # the `run_at` of its oldest ready job
    per_minute: int = 0  # finished within the last 60 s
    foreign: bool = False  # another program's on the same server: served only by its name


class Retention(Struct, frozen=True, kw_only=True):
    """How long final jobs are kept: ages in seconds, counts a queue; a success has its own age."""

    succeeded_count: int = 100_000
    dead_age: float = 180 * 86_400.0
    dead_count: int = 10_000
    ended_age: float = 30 * 86_400.0  # discarded and cancelled
    ended_count: int = 10_000


class Part(Struct, frozen=True, kw_only=True):
    """One of several stores behind one, as `describe` found it."""

    name: str
    location: str  # without secrets
    state: Literal["up", "draining", "away"]
    jobs: int | None = None  # queued or running there; None: unknown
    note: str = ""


class StoreInfo(Struct, frozen=True, kw_only=True):
    """What a store says of itself, for banners and checks."""

    name: str  # "SQLite 3.40.1"
    location: str  # without secrets
    enqueue_survives: str  # "a power cut" | "a killed process" | "nothing"
    settle_survives: str
    warnings: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()  # of a store that is made of several
