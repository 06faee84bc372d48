"""The sharded store: the Store protocol over several stores of any kind.

Each shard keeps every promise of the protocol for the jobs that it holds: atomic, fenced, crashes
counted apart from attempts. Across shards these are weaker, and nothing else is:

* **Order** holds on each shard, and within what one exchange brings from several; a queue as a
  whole is served in rotation, so a prioritised job on one shard may start after others elsewhere.
* **A call over several shards** is atomic on each. A batch is recorded whole on each shard, and
  `change` may have changed jobs on one when it raises for another; both may be repeated.
* **Fences** grow on each shard, not across them.
* **Counts of a retention** are kept by each shard, so N shards keep up to N times as many.
* **A bound** on `reap` may be passed by one job a shard when it is below the number of shards.
* **No transactions**: `within` names one connection, and nothing tells which shard's database it
  belongs to, nor may a job's place depend on it.
* **At least once** gains one more case: an enqueue whose shard fails before it answers may have
  been recorded there, and goes to another shard; the job then runs on both.

A shard that is away (health.py) stops its share alone: its jobs wait there, its running jobs go on
and are settled when it is back, and an enqueue goes elsewhere unless its unique key is held there.
A look-up by id that finds nothing while a shard is away raises StoreUnavailable, since it may be
there; listings and counts leave it out, and `describe` says so.
"""

from __future__ import annotations

import os
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from typing import NoReturn, TypeVar

from msgspec.structs import replace

from turnout.crash import Evidence
from turnout.errors import StoreError, StoreUnavailable, WithinError
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
from turnout.metrics import Measured, check_rows
from turnout.queues import added_up
from turnout.store.batch import check_batch
from turnout.store.marking import checked
from turnout.store.measuring import check_step
from turnout.store.patience import left
from turnout.store.protocol import HearsOrders, Store
from turnout.store.sharded import describe, marking, measuring, upkeep
from turnout.store.sharded.door import Door
from turnout.store.sharded.enqueue import Placement
from turnout.store.sharded.exchange import Trip
from turnout.store.sharded.merge import merged_records, merged_workers
from turnout.store.sharded.session import Session
from turnout.store.sharded.shards import Shard, Shards
from turnout.store.sharded.url import part_urls
from turnout.store.sharded.watch import Watch

T = TypeVar("T")

_NO_TRANSACTIONS = (
    "a sharded store has no transactions to share: nothing tells which shard's database a "
    "connection belongs to. Enqueue after your commit, or keep these jobs in a store of their own "
    "in the application's database"
)


class ShardedStore:
    """Jobs spread over several stores."""

    def __init__(self, url: str) -> None:
        self._watch = Watch(self._known)
        self._shards = Shards(url, self._watch.rouse)
        self._sessions: dict[str, Session] = {}
        self._doors: dict[str, Door] = {}
        self._homes = measuring.Homes()
        self._ttl = 0.0  # of the last heartbeat
        _all_stores.add(self)

    @classmethod
    def from_url(cls, url: str) -> ShardedStore:
        """Read `sharded:NAME=URL|NAME=URL` or `sharded:///FILE`; see url.py."""
        return cls(url)

    @staticmethod
    def schema_sql(url: str) -> str:
        """Return what `setup` would run on each shard."""
        return describe.schema_sql(url)

    @staticmethod
    def part_urls(url: str) -> list[str]:
        """Return the URLs of the shards; raises ConfigError with every fault in them."""
        return part_urls(url)

    # ---- life

    def setup(self) -> None:
        """Set every shard up; one that is away waits for its return, unless all are."""
        errors: list[StoreError] = []
        shards = self._shards.view().shards
        for shard in shards:
            try:
                shard.store.setup()
            except StoreUnavailable as error:
                shard.failed(error)
                errors.append(shard.absence())
        if len(errors) == len(shards):
            raise StoreUnavailable("; ".join(map(str, errors)))

    def close(self) -> None:
        """Let go of all shards' connections, and of the threads."""
        for door in self._doors.values():
            door.close()
        self._doors.clear()
        self._watch.close()
        for shard in self._known():
            shard.store.close()

    def describe(self) -> StoreInfo:
        """Say what the shards are, how they are, and what survives on all of them."""
        return describe.describe(self._shards.view())

    def renew(self) -> None:
        """Forget the parent's threads and locks, after a fork."""
        self._watch.renew()
        self._shards.renew()
        self._doors = {}

    def _known(self) -> list[Shard]:
        """Return the shards of this moment, and former ones whose jobs still run here."""
        shards = dict.fromkeys(self._shards.view().shards)
        for session in list(self._sessions.values()):
            shards.update(dict.fromkeys(list(session.names)))
        return list(shards)

    def _each(self, verb: Callable[[Store], T]) -> tuple[list[T], list[StoreError]]:
        """Call every shard; return the answers, and the errors of those that gave none."""
        answers, errors = list[T](), list[StoreError]()
        for shard in self._shards.view().shards:
            try:
                answers.append(shard.call(verb))
            except StoreError as error:
                errors.append(error)
                left()  # when the time is up, what the other shards said is no answer
        if not answers:
            raise StoreUnavailable("; ".join(map(str, errors)))
        return answers, errors

    # ---- the path of a job

    def enqueue(
        self, jobs: Sequence[NewJob], *, within: object = None, now: float | None = None
    ) -> list[JobId | None]:
        """Record jobs, each on its shard. Raises WithinError whenever `within` is given."""
        if within is not None:
            raise WithinError(_NO_TRANSACTIONS)
        check_batch(jobs)
        view = self._shards.view()
        if view.by == "depth":
            self._watch.want_counts()
        return Placement(view, jobs, now).place()

    def exchange(
        self,
        epoch: str,
        outcomes: Sequence[Outcome],
        want: Want | None,
        *,
        within: object = None,
        now: float | None = None,
    ) -> Exchanged:
        """Settle on the shards of the leases, and lease from the shards in turn."""
        if within is not None:
            raise WithinError(_NO_TRANSACTIONS)
        shards = self._shards.view().shards
        # An epoch that another object of this process opened, or nobody: only the shards can tell.
        session = self._sessions.get(epoch) or Session(epoch, shards)
        answer = Trip(session, want, now).make(shards, outcomes)
        if answer.lost:
            self._forget(epoch)
        return answer

    def transaction(self) -> NoReturn:
        """Refuse: there are no transactions that a task's writes could share."""
        raise WithinError(_NO_TRANSACTIONS)

    def note(self, epoch: str, job: LeasedJob, progress: str) -> bool:
        """Keep a running job's progress at the shard of its lease."""
        session = self._sessions.get(epoch)
        shard = session.shard_of(job) if session is not None else None
        name = None if session is None or shard is None else session.names.get(shard)
        if shard is None or name is None:
            answers, _ = self._each(lambda store: store.note(epoch, job, progress))
            return any(answers)
        return shard.call(lambda store: store.note(name, job, progress))

    # ---- workers

    def heartbeat(self, worker: WorkerInfo, *, ttl: float, now: float | None = None) -> Orders:
        """Renew the epoch on every shard that answers; lost only when all of them say so."""
        self._ttl = ttl
        session = self._sessions.setdefault(worker.epoch, Session(worker.epoch))
        if worker.state == "stopped":
            self._forget(worker.epoch)
        beat = upkeep.Beat(session, worker, ttl, now)
        orders = beat.at(self._shards.view().shards)
        if orders.lost:
            self._forget(worker.epoch)
        return orders

    def _forget(self, epoch: str) -> None:
        self._sessions.pop(epoch, None)
        door = self._doors.pop(epoch, None)
        if door is not None:
            door.close()

    def reap(
        self,
        *,
        epoch: str | None = None,
        evidence: Evidence | None = None,
        limit: int = 1_000,
        now: float | None = None,
    ) -> list[Reaped]:
        """Take back what dead workers held, on every shard that answers."""
        dead = (epoch, evidence)
        return upkeep.reap(self._shards.view().shards, dead, limit, now, ttl=self._ttl)

    def ordered(self, worker: WorkerInfo) -> bool:
        """Tell whether orders may wait for this worker on any shard; see the protocol."""
        session = self._sessions.get(worker.epoch)
        names = {} if session is None else dict(session.names)
        heard = [
            shard.store.ordered(replace(worker, epoch=name))
            for shard, name in names.items()
            if isinstance(shard.store, HearsOrders)
        ]
        return any(heard)

    def wait(self, worker: WorkerInfo, timeout: float) -> bool:
        """Wait on every shard at once; see door.py."""
        session = self._sessions.get(worker.epoch)
        names = {} if session is None else dict(session.names)
        at = {
            shard: replace(worker, epoch=names[shard])
            for shard in self._shards.view().shards
            if shard in names and not (shard.health.is_away or shard.health.is_resting)
        }
        return self._door(worker).wait(at, timeout)

    def wake(self, worker: WorkerInfo) -> None:
        """End this worker's `wait`, or the next one."""
        self._door(worker).wake()

    def _door(self, worker: WorkerInfo) -> Door:
        return self._doors.setdefault(worker.epoch, Door())

    # ---- operators

    def find(
        self,
        where: JobFilter,
        *,
        limit: int = 100,
        after: JobId | None = None,
        now: float | None = None,
    ) -> list[JobRecord]:
        """List jobs of every shard that answers, newest first."""
        pages, errors = self._each(
            lambda store: store.find(where, limit=limit, after=after, now=now)
        )
        found = merged_records(pages, limit)
        if errors and len(found) < min(len(set(where.ids)), limit) and _is_plain(where, after):
            msg = f"a job is not found, and {errors[0]}"
            raise StoreUnavailable(msg)
        return found

    def count(self, *, now: float | None = None) -> list[QueueStats]:
        """Return the sums over every shard that answers."""
        return added_up(chain.from_iterable(self._each(lambda store: store.count(now=now))[0]))

    def ready(self) -> dict[str, int]:
        """Return how many jobs of each queue can be leased now; the paused are left out."""
        found: Counter[str] = Counter()
        for one in self._each(lambda store: store.ready())[0]:
            found.update(one)
        return dict(found)

    def change(
        self, where: JobFilter, action: Action, *, limit: int = 1_000, now: float | None = None
    ) -> int:
        """Act on matching jobs, shard after shard, up to the limit."""
        done = 0

        def change(store: Store) -> int:
            nonlocal done
            changed = (
                store.change(where, action, limit=limit - done, now=now) if limit > done else 0
            )
            done += changed
            return changed

        _, errors = self._each(change)
        if errors and done < len(set(where.ids)):
            msg = f"{done} jobs changed, and {errors[0]}"
            raise StoreUnavailable(msg)
        return done

    def pause(self, queue: str, *, paused: bool) -> None:
        """Stop or resume leasing from a queue; raises when a shard could not be told."""
        _, errors = self._each(lambda store: store.pause(queue, paused=paused))
        if errors:
            msg = f"not every shard was told; say it again: {errors[0]}"
            raise StoreUnavailable(msg)

    def workers(self, *, now: float | None = None) -> list[WorkerInfo]:
        """List the workers whose epoch is open on any shard that answers."""
        return merged_workers(self._each(lambda store: store.workers(now=now))[0])

    def order(self, epoch: str, order: Order) -> bool:
        """Leave an order at the first shard that knows the worker: it is obeyed once."""
        left = False

        def leave(store: Store) -> None:
            nonlocal left
            left = left or upkeep.leave_order(epoch, order, store)

        _, errors = self._each(leave)
        if errors and not left:
            raise errors[0]
        return left

    def prune(self, retention: Retention, *, limit: int = 10_000, now: float | None = None) -> int:
        """Delete old records, shard after shard, up to the limit."""
        gone = 0

        def prune(store: Store) -> None:
            nonlocal gone
            if limit > gone:
                gone += store.prune(retention, limit=limit - gone, now=now)

        self._each(prune)
        return gone

    def mark(self, marks: Sequence[Mark], *, now: float | None = None) -> list[Marked]:
        """Let owners hold limit keys, each on the shard of its key; see marking.py."""
        return marking.mark(self._shards.view(), checked(marks), now)

    def unmark(self, marks: Sequence[tuple[str, str]]) -> int:
        """Drop marks."""
        return marking.unmark(self._shards.view(), marks)

    def record_metrics(
        self, source: str, number: int, rows: Sequence[Measured], *, now: float | None = None
    ) -> None:
        """Add rows to what is kept, once, on the shard of their source; see measuring.py."""
        check_rows(rows)
        shard = self._homes.of(source, self._shards.view().shards)
        shard.call(
            lambda store: measuring.keeper(store).record_metrics(source, number, rows, now=now)
        )

    def metrics(self, step: int, *, since: float = 0.0, task: str | None = None) -> list[Measured]:
        """Return the sums over every shard that answers."""
        check_step(step)
        lists, _ = self._each(
            lambda store: measuring.keeper(store).metrics(step, since=since, task=task)
        )
        return measuring.merged(lists)


def _is_plain(where: JobFilter, after: JobId | None) -> bool:
    """Tell whether a filter asks for ids alone, so that what is missing is unknown."""
    return after is None and where == JobFilter(ids=where.ids)


_all_stores: weakref.WeakSet[ShardedStore] = weakref.WeakSet()


def _after_fork() -> None:
    for store in list(_all_stores):
        store.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
