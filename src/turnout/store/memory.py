"""The reference store: jobs in this process's memory, gone with it; the oracle of the others.

It is meant for tests, trials and as the plainest reading of the protocol: no SQL, no batching, no
shortcuts. One lock makes every verb atomic; its condition carries the wake-ups. The one invariant:
a lease exists exactly while its job is running, and it belongs to one epoch.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NoReturn

from turnout.crash import Evidence, after_crash
from turnout.errors import WithinError
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
    State,
    StoreInfo,
    Want,
    WorkerInfo,
)
from turnout.lanes import base_of
from turnout.limits.marks import Mark, Marked
from turnout.metrics import Measured
from turnout.store._memory_epochs import Epoch, Epochs
from turnout.store._memory_job import StoredJob
from turnout.store._memory_marks import MemoryMarks
from turnout.store._memory_metrics import MemoryMetrics
from turnout.store._memory_state import MemoryState
from turnout.store.batch import check_batch

_SHORTEST_NAP = 0.001


class MemoryStore:
    """Jobs in memory. `clock` may be replaced by tests; `name` only tells stores apart."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.clock: Callable[[], float] = time.time
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._state = MemoryState()
        self._epochs = Epochs()
        self._marks = MemoryMarks()
        self._metrics = MemoryMetrics()
        self._woken: set[str] = set()
        self._ordered: set[str] = set()
        self._fence = 0
        _all_stores.add(self)

    @classmethod
    def from_url(cls, url: str) -> MemoryStore:
        """Read `memory:`, a store of one's own, and `memory:NAME`, shared within this process."""
        return cls.named(url.partition(":")[2].lstrip("/"))

    @classmethod
    def named(cls, name: str) -> MemoryStore:
        """Return this process's store of that name; without a name, a store of one's own."""
        if not name:
            return cls()
        with _registry_lock:
            return _registry.setdefault(name, cls(name))

    def setup(self) -> None:
        """Do nothing: there is no schema."""

    def close(self) -> None:
        """Do nothing: there are no connections, and the jobs stay."""

    def describe(self) -> StoreInfo:
        """Say that nothing survives this process."""
        return StoreInfo(
            name="memory",
            location=f"memory:{self.name}",
            enqueue_survives="nothing",
            settle_survives="nothing",
        )

    # ---- jobs in

    def enqueue(
        self, jobs: Sequence[NewJob], *, within: object = None, now: float | None = None
    ) -> list[JobId | None]:
        """Record jobs; see the protocol. Raises WithinError whenever `within` is given."""
        if within is not None:
            raise WithinError(_NO_TRANSACTIONS)
        check_batch(jobs)
        with self._changed:
            now = self._now(now)
            ids = [self._state.add(job, now) for job in jobs]
            self._changed.notify_all()
        return ids

    # ---- the hot path

    def exchange(
        self,
        epoch: str,
        outcomes: Sequence[Outcome],
        want: Want | None,
        *,
        within: object = None,
        now: float | None = None,
    ) -> Exchanged:
        """Settle what is still ours, then lease; see the protocol."""
        if within is not None:
            raise WithinError(_NO_TRANSACTIONS)
        with self._changed:
            now = self._now(now)
            holder = self._epochs.current(epoch)
            if holder is None:
                return Exchanged([], [], lost=True)
            settled = [job_id for out in outcomes if (job_id := self._settle(holder, out, now))]
            leased = [] if want is None else self._lease(holder, want, now)
            if settled:
                self._changed.notify_all()  # what was put back may be for another worker
        return Exchanged(settled, leased)

    def _settle(self, holder: Epoch, outcome: Outcome, now: float) -> JobId | None:
        job_id = outcome.job.id
        if holder.leases.get(job_id) != outcome.job.fence:
            return None
        del holder.leases[job_id]
        self._state.settle(self._state.jobs[job_id], outcome, now)
        return job_id

    def _lease(self, holder: Epoch, want: Want, now: float) -> list[LeasedJob]:
        self._fence += 1
        jobs = self._state.lease(want, now)
        for job in jobs:
            job.worker = holder.worker.name
            holder.leases[job.id] = self._fence
        return [job.leased(self._fence) for job in jobs]

    def transaction(self) -> NoReturn:
        """Refuse: there are no transactions here."""
        raise WithinError(_NO_TRANSACTIONS)

    def note(self, epoch: str, job: LeasedJob, progress: str) -> bool:
        """Keep a running job's progress, if the lease is still ours."""
        with self._lock:
            holder = self._epochs.current(epoch)
            if holder is None or holder.leases.get(job.id) != job.fence:
                return False
            self._state.jobs[job.id].progress = progress
            return True

    # ---- workers

    def heartbeat(self, worker: WorkerInfo, *, ttl: float, now: float | None = None) -> Orders:
        """Renew, open or end an epoch; see the protocol."""
        with self._changed:
            now = self._now(now)
            if self._epochs.is_ended(worker.epoch):
                return Orders(lost=True)
            self._ordered.discard(worker.epoch)
            if worker.state == "stopped":
                self._epochs.end(worker.epoch)
                for _, job_id in self._epochs.surrender(worker.epoch):
                    self._state.requeue(self._state.jobs[job_id], now)
                self._changed.notify_all()
                return Orders()
            holder = self._epochs.renew(worker, now + ttl)
            jobs = self._state.jobs
            asked = (job_id for job_id in holder.leases if jobs[job_id].cancel_requested)
            orders, holder.orders = holder.orders, []
            return Orders.told(asked, orders)

    def order(self, epoch: str, order: Order) -> bool:
        """Leave an order for the worker of an open epoch."""
        with self._lock:
            holder = self._epochs.current(epoch)
            if holder is not None:
                holder.orders.append(order)
            return holder is not None

    def reap(
        self,
        *,
        epoch: str | None = None,
        evidence: Evidence | None = None,
        limit: int = 1_000,
        now: float | None = None,
    ) -> list[Reaped]:
        """End the epochs that are over and take back what they held; see the protocol."""
        with self._changed:
            now = self._now(now)
            for over in [epoch] if epoch is not None else self._epochs.late(now):
                self._epochs.end(over)
            held = islice(self._epochs.surrender(epoch), limit)
            reaped = [
                self._take_back(self._state.jobs[job_id], now, worker, evidence)
                for worker, job_id in held
            ]
            self._changed.notify_all()
        return reaped

    def workers(self, *, now: float | None = None) -> list[WorkerInfo]:
        """List the workers whose epoch is open, by name."""
        del now
        with self._lock:
            return self._epochs.workers()

    def _take_back(
        self, job: StoredJob, now: float, worker: WorkerInfo, evidence: Evidence | None
    ) -> Reaped:
        job.add_crash(now, evidence)
        state, reason = after_crash(job.crashes, worker.on_crash.get(job.task))
        if state is State.QUEUED or job.cancel_requested:
            self._state.requeue(job, now)
        else:
            self._state.finish(job, state, now, reason=reason)
        return Reaped(job.id, job.task, job.queue, job.crashes, job.state)

    # ---- waiting

    def wait(self, worker: WorkerInfo, timeout: float) -> bool:
        """Block until a job may be ready for this worker, `wake`, or `timeout` seconds passed.

        A `clock` that tests have replaced decides what is due, but only a verb that changes
        something makes a waiter look at it again before the real time has passed.
        """
        end = time.monotonic() + timeout
        with self._changed:
            while True:
                ahead = self._next_due(worker.queues) - self.clock()
                if ahead <= 0:
                    return True
                left = end - time.monotonic()
                if worker.epoch in self._woken or left <= 0:
                    self._woken.discard(worker.epoch)
                    return False
                self._changed.wait(min(left, max(ahead, _SHORTEST_NAP)))

    def wake(self, worker: WorkerInfo) -> None:
        """End this worker's `wait`, or the next one if it is not waiting now."""
        with self._changed:
            self._woken.add(worker.epoch)
            self._changed.notify_all()

    def ordered(self, worker: WorkerInfo) -> bool:
        """Tell whether orders may wait for this worker since the last look."""
        with self._lock:
            ordered = worker.epoch in self._ordered
            self._ordered.discard(worker.epoch)
            return ordered

    def _next_due(self, names: Iterable[str]) -> float:
        queues = self._state.queues
        named = set(names)
        wanted = [one for one in queues if "*" in named or base_of(one) in named or one in named]
        due = [queues[name].next_due() for name in wanted if not self._state.is_paused(name)]
        return min(due, default=float("inf"))

    # ---- operators

    def find(
        self,
        where: JobFilter,
        *,
        limit: int = 100,
        after: JobId | None = None,
        now: float | None = None,
    ) -> list[JobRecord]:
        """List matching jobs, newest id first, those older than `after` only."""
        with self._lock:
            found = self._state.select(where, self._now(now), after)
            return [job.record() for job in islice(found, limit)]

    def count(self, *, now: float | None = None) -> list[QueueStats]:
        """Return the numbers of every known queue, by name."""
        with self._lock:
            now = self._now(now)
            return [queue.stats(now) for _, queue in sorted(self._state.queues.items())]

    def ready(self) -> dict[str, int]:
        """Return how many jobs of each queue can be leased now; the paused are left out."""
        with self._lock:
            return self._state.ready(self._now(None))

    def change(
        self, where: JobFilter, action: Action, *, limit: int = 1_000, now: float | None = None
    ) -> int:
        """Act on at most `limit` jobs that the action can change; say how many it did."""
        with self._changed:
            now = self._now(now)
            state = self._state
            matching = (job for job in state.select(where, now) if state.can(action, job, now))
            changed = sum(state.apply(action, job, now) for job in list(islice(matching, limit)))
            if changed and action == "cancel":
                self._ordered.update(worker.epoch for worker in self._epochs.workers())
            self._changed.notify_all()
        return changed

    def pause(self, queue: str, *, paused: bool) -> None:
        """Stop or resume leasing from a queue."""
        with self._changed:
            self._state.queue(queue).paused = paused
            self._changed.notify_all()

    def prune(self, retention: Retention, *, limit: int = 10_000, now: float | None = None) -> int:
        """Delete final jobs past their time or count, and stale unique keys; at most `limit`."""
        with self._lock:
            now = self._now(now)
            self._state.prune_claims(limit, now)
            self._metrics.prune(now)
            gone = 0
            for job in islice(self._fading(retention, now), limit):
                self._state.remove(job)
                gone += 1
            return gone

    def mark(self, marks: Sequence[Mark], *, now: float | None = None) -> list[Marked]:
        """Let owners hold limit keys; expired marks are forgotten here."""
        with self._lock:
            return self._marks.mark(marks, self._now(now))

    def unmark(self, marks: Sequence[tuple[str, str]]) -> int:
        """Drop marks; say how many there were."""
        with self._lock:
            return self._marks.unmark(marks)

    def record_metrics(
        self, source: str, number: int, rows: Sequence[Measured], *, now: float | None = None
    ) -> None:
        """Add rows to what is kept, once."""
        with self._lock:
            self._metrics.record(source, number, rows, self._now(now))

    def metrics(self, step: int, *, since: float = 0.0, task: str | None = None) -> list[Measured]:
        """Return the kept rows of a step of time."""
        with self._lock:
            return self._metrics.read(step, since, task)

    def _fading(self, retention: Retention, now: float) -> Iterator[StoredJob]:
        ended = (now - retention.ended_age, retention.ended_count)
        rules = {
            State.SUCCEEDED: (float("-inf"), retention.succeeded_count),
            State.DEAD: (now - retention.dead_age, retention.dead_count),
            State.DISCARDED: ended,
            State.CANCELLED: ended,
        }
        for _, queue in sorted(self._state.queues.items()):
            yield from queue.faded(now)
            for state, (before, most) in rules.items():
                yield from queue.overdue(state, before, most)

    def _now(self, now: float | None) -> float:
        return self.clock() if now is None else now


# ---- stores of this process: by name, and across forks

_NO_TRANSACTIONS = (
    "the memory store has no transactions to share: enqueue after the commit, or use a store that "
    "lives in the application's database"
)
_registry: dict[str, MemoryStore] = {}
_registry_lock = threading.Lock()
_all_stores: weakref.WeakSet[MemoryStore] = weakref.WeakSet()
_held_at_fork: list[MemoryStore] = []


def _before_fork() -> None:
    # A fork while another thread is inside a verb would leave the child a lock nobody holds.
    _registry_lock.acquire()
    _held_at_fork.extend(sorted(_all_stores, key=id))
    for store in _held_at_fork:
        store._lock.acquire()  # noqa: SLF001


def _after_fork() -> None:
    while _held_at_fork:
        _held_at_fork.pop()._lock.release()  # noqa: SLF001
    _registry_lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )
