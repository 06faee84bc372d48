"""The Redis adapter: the Store protocol over one database of a Redis or Valkey server.

Each verb is one script or a few, and lives in the file of its name; this class lends connections,
and remembers what to ask again. Sidekiq's keys have no prefix, so a database holds one application.

An exchange whose reply was lost may have leased jobs that nobody here knows of. Its fence was made
here, so the next exchange of that epoch asks for the same fence again: the server answers with that
lease, if it exists, in place of a new one.
"""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

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
from turnout.store.batch import check_batch
from turnout.store.bell import Ordered
from turnout.store.marking import checked
from turnout.store.recent import Recent
from turnout.store.redis import checks, marking, measuring, scripts, upkeep
from turnout.store.redis.bell import POLL, Bell, ring_for_orders
from turnout.store.redis.change import change
from turnout.store.redis.connection import Connections, Link
from turnout.store.redis.count import count, ready
from turnout.store.redis.enqueue import enqueue_message, pack, read_ids
from turnout.store.redis.exchange import Batch, converse
from turnout.store.redis.foreign import pushed
from turnout.store.redis.metrics import Metrics
from turnout.store.redis.prune import prune
from turnout.store.redis.records import find
from turnout.store.redis.url import place, read_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from turnout.crash import Evidence
    from turnout.limits.marks import Mark, Marked
    from turnout.metrics import Measured

_NO_TRANSACTIONS = (
    "Redis has no transactions to share with your database: give Turnout(...) outbox= and the URL "
    "of that database, enqueue after your commit (leave the `within` block, then enqueue), or keep "
    "these jobs in a store that lives there: sqlite:, postgresql:, mysql:"
)


class RedisStore(Ordered[Bell]):
    """Jobs in one database, shared by any number of processes of any number of machines."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._connections = Connections(options)
        self._bells: dict[str, Bell] = {}
        self._recent = Recent()
        self._metrics = Metrics()
        self._in_doubt: dict[str, int] = {}
        self._ready = False
        self._setup_lock = threading.Lock()

    @classmethod
    def from_url(cls, url: str) -> RedisStore:
        """Read `redis://`, `rediss://` (TLS) or `unix://`, as redis-py does; see url.py."""
        return cls(read_url(url))

    # ---- life

    def setup(self) -> None:
        """Look whether the server will do; there is no schema."""
        with self._setup_lock:
            with self._connections.lend() as link:
                checks.check_server(link)
            self._ready = True

    def close(self) -> None:
        """Close every connection that is not in use."""
        for bell in self._bells.values():
            bell.close()
        self._bells.clear()
        self._connections.close()

    def describe(self) -> StoreInfo:
        """Say what this is and what survives which crash."""
        with self._lend() as link:
            kind, version = checks.product(checks.info(link, "server"))
            found = checks.settings(link)
        kept = checks.survives(found)
        return StoreInfo(
            name=f"{kind.title()} {version}",
            location=place(self._options),
            enqueue_survives=kept,
            settle_survives=kept,
            warnings=tuple(checks.warnings(found)),
        )

    @contextmanager
    def _lend(self) -> Iterator[Link]:
        if not self._ready:
            self.setup()
        try:
            with self._connections.lend() as link:
                yield link
        except StoreUnavailable:  # whichever verb meets it first: those after it may work again
            self._recent.doubt()
            raise

    # ---- the path of a job

    def enqueue(
        self, jobs: Sequence[NewJob], *, within: object = None, now: float | None = None
    ) -> list[JobId | None]:
        """Record jobs; see the protocol. Raises WithinError whenever `within` is given."""
        if within is not None:
            raise WithinError(_NO_TRANSACTIONS)
        if not jobs:
            return []
        check_batch(jobs)
        with self._lend() as link:
            taken = link.script(scripts.ENQUEUE, _at(now), enqueue_message(jobs))
        return read_ids(jobs, taken)

    def push(
        self,
        jobs: Sequence[tuple[NewJob, Mapping[str, Any]]],
        *,
        within: object = None,
        now: float | None = None,
    ) -> list[JobId]:
        """Record jobs for Ruby; see the protocol. Raises WithinError whenever `within` is given."""
        if within is not None:
            raise WithinError(_NO_TRANSACTIONS)
        told = [pushed(job, members) for job, members in jobs]
        if told:
            with self._lend() as link:
                link.script(scripts.PUSH, _at(now), pack(told))
        return [job.id for job, _ in jobs]

    def exchange(
        self,
        epoch: str,
        outcomes: Sequence[Outcome],
        want: Want | None,
        *,
        within: object = None,
        now: float | None = None,
    ) -> Exchanged:
        """Settle and lease in one script."""
        if within is not None:
            raise WithinError(_NO_TRANSACTIONS)
        with self._lend() as link:
            return self._exchange(link, epoch, outcomes, want, now)

    def _exchange(
        self,
        link: Link,
        epoch: str,
        outcomes: Sequence[Outcome],
        want: Want | None,
        now: float | None,
    ) -> Exchanged:
        self._recent.resend(epoch, lambda some: converse(link, epoch, Batch(some), None, (0, now)))
        fence = (self._in_doubt.get(epoch, 0) or _new_fence()) if want is not None else 0
        batch = Batch(outcomes)
        try:
            answer = converse(link, epoch, batch, want, (fence, now))
        except BaseException:
            if want is not None:
                self._in_doubt[epoch] = fence
            raise
        if answer.leased:  # until then what was in doubt may still be on its way to the server
            self._in_doubt.pop(epoch, 0)
        if outcomes:
            self._recent.keep(epoch, batch.sent())
            self._metrics.add(outcomes)
        return answer

    def transaction(self) -> NoReturn:
        """Refuse: there are no transactions that a task's writes could share."""
        raise WithinError(_NO_TRANSACTIONS)

    def note(self, epoch: str, job: LeasedJob, progress: str) -> bool:
        """Keep a running job's progress, if it is still ours."""
        with self._lend() as link:
            return bool(link.script(scripts.NOTE, epoch, str(job.fence), job.id, progress))

    def heartbeat(self, worker: WorkerInfo, *, ttl: float, now: float | None = None) -> Orders:
        """Renew the epoch; the first one opens it."""
        if worker.state == "running":
            self._bell(worker)
        with self._lend() as link:
            orders = upkeep.heartbeat(link, worker, ttl, now)
        if orders.lost or worker.state == "stopped":
            self._in_doubt.pop(worker.epoch, 0)
            bell = self._bells.pop(worker.epoch, None)
            if bell is not None:
                bell.close()
        with suppress(StoreError), self._lend() as link:  # a worker lives without them
            self._metrics.write(link, now)
        return orders

    def reap(
        self,
        *,
        epoch: str | None = None,
        evidence: Evidence | None = None,
        limit: int = 1_000,
        now: float | None = None,
    ) -> list[Reaped]:
        """Take back what dead workers held."""
        with self._lend() as link:
            return upkeep.reap(link, (epoch, evidence), limit, now)

    def wait(self, worker: WorkerInfo, timeout: float) -> bool:
        """Say that we sleep, unless something is ready, then listen; and look now and then."""
        bell = self._bell(worker)
        bell.listen()
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            due = self._until_ready(worker)
            if due <= 0:
                return True
            if bell.wait(min(left, due, POLL * random.uniform(0.75, 1.25))):
                return True
        return False

    def _bell(self, worker: WorkerInfo) -> Bell:
        bell = self._bells.get(worker.epoch)
        if bell is not None and bell.pid == os.getpid():
            return bell
        if bell is not None:
            del self._bells[worker.epoch]  # the parent's
        made = Bell(self._connections, worker.epoch)
        bell = self._bells.setdefault(worker.epoch, made)
        if bell is not made:  # a wake and a wait may come at once
            made.close()
        return bell

    def _until_ready(self, worker: WorkerInfo) -> float:
        with self._lend() as link:
            names = f",{','.join(worker.queues)},"
            due: int = link.script(scripts.SLEEP, worker.epoch, names)
        return POLL * 2 if due < 0 else due / 1_000_000

    def wake(self, worker: WorkerInfo) -> None:
        """End this worker's `wait`, or the next one if it is not waiting now."""
        self._bell(worker).ring()

    # ---- operators

    def find(
        self,
        where: JobFilter,
        *,
        limit: int = 100,
        after: JobId | None = None,
        now: float | None = None,
    ) -> list[JobRecord]:
        """List jobs; every place is read page by page, and none waits for it."""
        with self._lend() as link:
            return find(link, where, _clock(link, now), limit=limit, after=after)

    def count(self, *, now: float | None = None) -> list[QueueStats]:
        """Return the counters of every queue."""
        with self._lend() as link:
            return count(link, now)

    def ready(self) -> dict[str, int]:
        """Return how many jobs of each queue can be leased now; the paused are left out."""
        with self._lend() as link:
            return ready(link)

    def change(
        self, where: JobFilter, action: Action, *, limit: int = 1_000, now: float | None = None
    ) -> int:
        """Act on matching jobs; workers learn of it at once."""
        with self._lend() as link:
            changed = change(link, where, action, limit, _clock(link, now))
            if changed and action == "cancel":
                ring_for_orders(link)
            return changed

    def pause(self, queue: str, *, paused: bool) -> None:
        """Stop or resume leasing from a queue."""
        with self._lend() as link:
            link.script(scripts.PAUSE, queue, int(paused))

    def workers(self, *, now: float | None = None) -> list[WorkerInfo]:  # noqa: ARG002
        """List the workers whose epoch is open."""
        with self._lend() as link:
            return upkeep.workers(link)

    def order(self, epoch: str, order: Order) -> bool:
        """Leave an order for a worker's next heartbeat."""
        with self._lend() as link:
            return upkeep.order(link, epoch, order)

    def prune(self, retention: Retention, *, limit: int = 10_000, now: float | None = None) -> int:
        """Delete old records."""
        with self._lend() as link:
            return prune(link, retention, limit, _clock(link, now))

    def mark(self, marks: Sequence[Mark], *, now: float | None = None) -> list[Marked]:
        """Let owners hold limit keys."""
        asked = checked(marks)
        with self._lend() as link:
            return marking.mark(link, asked, _at(now)) if asked else []

    def unmark(self, marks: Sequence[tuple[str, str]]) -> int:
        """Drop marks."""
        with self._lend() as link:
            return marking.unmark(link, marks) if marks else 0

    def record_metrics(
        self, source: str, number: int, rows: Sequence[Measured], *, now: float | None = None
    ) -> None:
        """Add rows to what is kept, once."""
        with self._lend() as link:
            measuring.record(link, source, number, rows, _clock(link, now))

    def metrics(self, step: int, *, since: float = 0.0, task: str | None = None) -> list[Measured]:
        """Return the kept rows of a step of time."""
        with self._lend() as link:
            return measuring.read(link, step, since, task)


def _new_fence() -> int:
    """Return a number that no other exchange uses: microseconds, then chance."""
    return (time.time_ns() // 1000 << 11 | random.getrandbits(11)) & (2**63 - 1)


def _at(now: float | None) -> str:
    return "" if now is None else repr(now)


def _clock(link: Link, now: float | None) -> float:
    if now is not None:
        return now
    seconds, micros = link.run("TIME")
    return int(seconds) + int(micros) / 1_000_000
