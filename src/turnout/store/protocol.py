"""The Store protocol: where jobs live, seen from everything above.

Rules that hold for every method of every store, and that `tests/conformance` checks:

* **Atomic.** It happens whole or not at all, also when the process is killed in the middle.
* **Bulk or bounded.** No method's work grows with what is stored beyond its own limit.
* **The store's clock.** `now` is for tests and simulation; None means the store's own clock.
* **Fenced.** A settle names the epoch and the fence of its lease. A worker that was reaped has
  no leases left, so whatever it settles late changes nothing: a zombie cannot finish a job.
* **No cursors.** Everything returned is a plain value.
* **Any thread, any fork.** Methods may be called from any thread, and from a child after a fork.

The order of a queue: larger `priority` first, then earlier `run_at`, then smaller id.

Three limits are kept by everybody: a paused queue is not leased from; a job is not leased before
its `run_at`; an epoch that is unknown (never seen by `heartbeat`, or reaped) leases nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from turnout.crash import POISON, Evidence
from turnout.job import (
    Action,
    Exchanged,
    JobFilter,
    JobId,
    JobRecord,
    LeasedJob,
    NewJob,
    Order,
    Orders,
    Outcome,
    QueueStats,
    Reaped,
    Retention,
    StoreInfo,
    Want,
    WorkerInfo,
)
from turnout.limits.marks import Mark, Marked
from turnout.metrics import Measured

__all__ = [
    "MAX_BATCH",
    "POISON",
    "AwaitsCallers",
    "EnqueuesNew",
    "HearsOrders",
    "KeepsMetrics",
    "Store",
]

MAX_BATCH = 1_000  # jobs that one enqueue takes at most; callers chunk


class Store(Protocol):
    """Where jobs live. See the module's rules, which bind every implementation."""

    def setup(self) -> None:
        """Create or upgrade the schema; safe to repeat, and beside running workers.

        Raises SchemaError when what is there is not ours or newer, StoreUnavailable when it cannot
        be opened.
        """
        ...

    def close(self) -> None:
        """Let go of every connection of this process; the store may be used again afterwards."""
        ...

    def describe(self) -> StoreInfo:
        """Say what this store is, what survives which crash, and what is wrong with its set-up."""
        ...

    def enqueue(
        self, jobs: Sequence[NewJob], *, within: object = None, now: float | None = None
    ) -> list[JobId | None]:
        """Record jobs, all or none; ids in the same order, None where the unique key is taken.

        An id that is already known is not recorded again and is returned as if it had been: a
        repeated enqueue makes no double. `within` is the caller's own connection, session or
        transaction: the jobs then exist exactly when it commits. Raises WithinError when the store
        cannot do that.
        """
        ...

    def exchange(
        self,
        epoch: str,
        outcomes: Sequence[Outcome],
        want: Want | None,
        *,
        within: object = None,
        now: float | None = None,
    ) -> Exchanged:
        """Settle `outcomes` and lease up to `want` more, in one round trip.

        Ids missing from `settled` were no longer ours. Queues are served in the order given, each
        up to its room, all up to `limit`. A queue named "*" stands for every queue not named that
        is no lane of another (see turnout.lanes). Due
        scheduled jobs become ready here, in bounded numbers. A final outcome frees the job's unique
        key. `within` is an open transaction, as for `enqueue`: it settles there, when that commits,
        and leases nothing.
        """
        ...

    def transaction(self) -> AbstractContextManager[Any]:
        """Open a transaction on a connection of the driver's own kind, for a task's writes.

        It commits durably at the block's end and is undone when the block raises. What it yields is
        good for `within`. Raises WithinError when the store has no transactions.
        """
        ...

    def note(self, epoch: str, job: LeasedJob, progress: str) -> bool:
        """Keep a running job's progress (JSON text); False when the lease is no longer ours."""
        ...

    def heartbeat(self, worker: WorkerInfo, *, ttl: float, now: float | None = None) -> Orders:
        """Renew the epoch for `ttl` seconds, or open it when it is new, and bring back orders.

        An epoch that was reaped is never renewed: the answer is `lost`. State "stopped" ends the
        epoch and returns what it still held to its queues, not counted as a crash.
        """
        ...

    def reap(
        self,
        *,
        epoch: str | None = None,
        evidence: Evidence | None = None,
        limit: int = 1_000,
        now: float | None = None,
    ) -> list[Reaped]:
        """Take back at most `limit` jobs of workers past their deadline, or of `epoch` at once.

        Each counts a crash, never an attempt; with POISON crashes the job is dead, or sooner where
        its worker said so (`WorkerInfo.on_crash`). Its history keeps the `evidence`, what is known
        of the death of `epoch`. An epoch is over the moment this begins: its late settles change
        nothing.
        """
        ...

    def wait(self, worker: WorkerInfo, timeout: float) -> bool:
        """Block until a job may be ready for `worker` (True), or for `timeout` seconds (False).

        May wake for nothing. A job that becomes due by its `run_at` ends the wait too.
        """
        ...

    def wake(self, worker: WorkerInfo) -> None:
        """End a `wait` of this worker from another thread of its process."""
        ...

    def find(
        self,
        where: JobFilter,
        *,
        limit: int = 100,
        after: JobId | None = None,
        now: float | None = None,
    ) -> list[JobRecord]:
        """List jobs in any state, newest id first, only those with an id below `after`."""
        ...

    def count(self, *, now: float | None = None) -> list[QueueStats]:
        """Return the numbers of every known queue, by name, without counting rows."""
        ...

    def ready(self) -> dict[str, int]:
        """Return how many jobs of each queue can be leased now, by the counters; none: left out.

        Cheaper than `count`, and without the queues that are paused, or whose lanes are.
        """
        ...

    def change(
        self, where: JobFilter, action: Action, *, limit: int = 1_000, now: float | None = None
    ) -> int:
        """Act on at most `limit` matching jobs and say how many changed; call until it says 0.

        retry: final ones but successes go back to their queue with fresh counts, and queued ones
        ahead of
        their time become due (refused where another job holds the unique key by now). cancel:
        queued ones
        end as cancelled; running ones are asked to stop, once. delete: everything but running ones
        goes.
        """
        ...

    def pause(self, queue: str, *, paused: bool) -> None:
        """Stop or resume leasing from a queue; jobs that run already are not touched."""
        ...

    def workers(self, *, now: float | None = None) -> list[WorkerInfo]:
        """List the workers whose epoch is open, by name."""
        ...

    def order(self, epoch: str, order: Order) -> bool:
        """Leave an order for the worker of an open epoch; False when there is none.

        Its heartbeats bring the orders, each once: the oldest first, several at a time or not.
        """
        ...

    def prune(self, retention: Retention, *, limit: int = 10_000, now: float | None = None) -> int:
        """Delete final jobs past their time or count, oldest first; at most `limit` of them.

        Stale unique keys, expired marks and old statistics go too.
        """
        ...

    def mark(self, marks: Sequence[Mark], *, now: float | None = None) -> list[Marked]:
        """Let owners hold limit keys for a time; answers in the same order.

        Marks of one owner that stand in a row are granted all or none. `limits/marks.py` says what
        a mark is and when it is granted; a mark whose time has passed is as good as gone. Raises
        ConfigError for impossible marks, and for more than 1,000 of them.
        """
        ...

    def unmark(self, marks: Sequence[tuple[str, str]]) -> int:
        """Drop marks, given as (key, owner), and say how many there were.

        One that expired just now may still count.
        """
        ...


@runtime_checkable
class AwaitsCallers(Protocol):
    """What a store adds whose database has asynchronous drivers. Workers never need it."""

    async def aenqueue(
        self, jobs: Sequence[NewJob], *, within: object, now: float | None = None
    ) -> list[JobId | None]:
        """Record jobs as `enqueue` does, in the caller's transaction.

        A connection, session or cursor whose statements are awaited is awaited, in the caller's own
        coroutine; any other is used as `enqueue` uses it.
        """
        ...


@runtime_checkable
class EnqueuesNew(Protocol):
    """What a store adds where looking for an id that cannot exist yet is dear."""

    def enqueue_new(self, job: NewJob) -> JobId | None:
        """Record one job whose id was made for this very call; None when its unique key is taken.

        Nobody else knows the id, so the store need not look for it. To repeat a call whose reply
        was lost, say `enqueue`.
        """
        ...


@runtime_checkable
class HearsOrders(Protocol):
    """What a store adds whose doorbell reaches busy workers too, between their heartbeats."""

    def ordered(self, worker: WorkerInfo) -> bool:
        """Tell, without a round trip, whether orders may wait for this worker since the last look.

        May say so for nothing, and may miss one: the next heartbeat brings them in any case.
        """
        ...


@runtime_checkable
class KeepsMetrics(Protocol):
    """What a store adds that keeps counts and durations of attempts. All of ours do."""

    def record_metrics(
        self, source: str, number: int, rows: Sequence[Measured], *, now: float | None = None
    ) -> None:
        """Add rows of minutes (`at` is where one begins) to what is kept, all or none, and once.

        `number` grows from call to call of a `source`. A call whose reply was lost is repeated with
        the same number and the same rows: where it is known, nothing changes. Sources are forgotten
        a day after their last call. Rows older than a step's time are not kept under that step; of
        more than MOST_TASKS pairs of task and queue in one step, the later ones count as OTHER.
        Raises ConfigError for more than MOST_ROWS rows.
        """
        ...

    def metrics(self, step: int, *, since: float = 0.0, task: str | None = None) -> list[Measured]:
        """Return what is kept by steps of so many seconds (a key of KEPT), by time and names.

        Only steps that began at `since` or later, and only one task's where `task` is given. Raises
        ConfigError for another step.
        """
        ...


@runtime_checkable
class SpeaksSidekiq(Protocol):
    """What a store adds that keeps jobs where Ruby's Sidekiq does. Workers never need it."""

    def push(
        self,
        jobs: Sequence[tuple[NewJob, Mapping[str, Any]]],
        *,
        within: object = None,
        now: float | None = None,
    ) -> list[JobId]:
        """Record jobs for Ruby, all or none; ids in the same order.

        `args` is here a JSON array, `task` the Ruby class. The mapping holds further members of
        Sidekiq's payload, such as `retry`, and may name another `class`. What a NewJob has beyond
        its queue and `run_at`, Sidekiq has no word for. A repeated push makes a double.
        """
        ...
