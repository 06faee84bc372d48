"""The SQLite adapter: the Store protocol over one file.

Each verb is one transaction and lives in the file of its name; this class opens connections, keeps
the clock, rings the doorbell after commits and starts checkpoints. The file is set up at first use.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

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
from turnout.lanes import base_of
from turnout.store.batch import check_batch
from turnout.store.bell import ORDER, POLL, WAKE, Bell, Ordered, ring
from turnout.store.orders import read_workers
from turnout.store.sqlite import checks
from turnout.store.sqlite.base import Q, Turn, decode_ids
from turnout.store.sqlite.change import change
from turnout.store.sqlite.checkpoint import Checkpointer
from turnout.store.sqlite.connection import Connections, write
from turnout.store.sqlite.count import count, ready_queues
from turnout.store.sqlite.enqueue import enqueue
from turnout.store.sqlite.exchange import Lease, exchange, read_leased
from turnout.store.sqlite.measuring import KeepsSmallThings
from turnout.store.sqlite.records import find
from turnout.store.sqlite.upkeep import heartbeat, prune, reap
from turnout.store.sqlite.upkeep import order as give_order
from turnout.store.sqlite.url import SURVIVES, read_url
from turnout.store.sqlite.within import borrow, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from turnout.crash import Evidence

T = TypeVar("T")


class SQLiteStore(KeepsSmallThings, Ordered[Bell]):
    """Jobs in one SQLite file, shared by any number of processes of one machine."""

    def __init__(self, path: Path, *, synchronous: str = "full", worker: str = "normal") -> None:
        self.path = path
        self.clock: Callable[[], float] = time.time
        self._modes = (synchronous, worker)
        self._connections = Connections(path, front=synchronous, back=worker)
        self._checkpointer = Checkpointer(path)
        self._bells: dict[str, Bell] = {}
        self._ready = False
        self._setup_lock = threading.Lock()
        self._woken: dict[str, bool] = {}
        self._holding = threading.local()  # .lock: this thread is within `transaction`
        self._seen = -1  # PRAGMA data_version at the last look for jobs

    @classmethod
    def from_url(cls, url: str) -> SQLiteStore:
        """Read `sqlite:///relative.db`, `sqlite:////absolute.db` and their two switches.

        `?synchronous=` is for enqueues and `?worker_synchronous=` for leases and settles: full or
        normal.
        """
        path, modes = read_url(url)
        return cls(path, **modes)

    @staticmethod
    def schema_sql(_url: str) -> str:
        """Return the SQL that `setup` runs on a new file."""
        return checks.SCHEMA

    # ---- life

    def setup(self) -> None:
        """Create or upgrade the schema; safe to repeat."""
        checks.refuse_network(self.path)
        with self._setup_lock, self._connections.front() as connection:
            if not checks.is_current(connection):
                with self._connections.gate:
                    checks.migrate(connection)
            self._ready = True

    def _prepare(self) -> None:
        """Set the file up at first use, and again after it was replaced."""
        if not self._is_ready():
            self.setup()

    def _is_ready(self) -> bool:
        self._ready = self._ready and not self._connections.is_replaced()
        return self._ready

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._bells.clear()
        self._connections.close()

    def describe(self) -> StoreInfo:
        """Say what this is and what survives which crash."""
        return StoreInfo(
            name=f"SQLite {sqlite3.sqlite_version}",
            location=str(self.path),
            enqueue_survives=SURVIVES[self._modes[0]],
            settle_survives=SURVIVES[self._modes[1]],
            warnings=checks.warnings(),
        )

    def _front(self, verb: Callable[[Turn], T], now: float | None) -> T:
        """Run a verb that writes on a connection whose commits are durable."""
        self._prepare()
        with self._connections.front() as connection:
            answer = self._write(connection, verb, now)
        self._checkpointer.committed()
        return answer

    def _write(
        self, connection: sqlite3.Connection, verb: Callable[[Turn], T], now: float | None
    ) -> T:
        def work() -> T:
            turn = Turn(connection.execute, self.clock() if now is None else now)
            answer = verb(turn)
            turn.flush()
            return answer

        with self._connections.gate:
            return write(connection, work)

    def _now(self, now: float | None) -> float:
        return self.clock() if now is None else now

    # ---- the path of a job

    def enqueue(
        self, jobs: Sequence[NewJob], *, within: object = None, now: float | None = None
    ) -> list[JobId | None]:
        """Record jobs in a transaction of their own, or in the caller's."""
        if not jobs:
            return []
        check_batch(jobs)
        if within is not None:
            return self._enqueue_within(jobs, within, now)
        self._prepare()
        with self._connections.front() as connection:

            def verb(turn: Turn) -> tuple[list[JobId | None], list[int]]:
                ids = enqueue(turn, connection.executemany, jobs)
                return ids, [row[0] for row in turn.execute(Q["bells"])]

            ids, bells = self._write(connection, verb, now)
        ring(bells)
        self._checkpointer.committed()
        return ids

    def _enqueue_within(
        self, jobs: Sequence[NewJob], within: object, now: float | None
    ) -> list[JobId | None]:
        with borrow(within, self.path) as borrowed:
            if not self._is_ready():  # a connection of our own would wait for the caller's lock
                checks.refuse_network(self.path)
                checks.migrate_within(borrowed.execute)
            turn = Turn(borrowed.execute, self._now(now))
            ids = enqueue(turn, borrowed.executemany, jobs)
            turn.flush()
        borrowed.after_commit(self._ring)
        return ids

    def _ring(self, word: bytes = WAKE) -> None:
        with self._connections.front() as connection:
            ports = [row[0] for row in connection.execute(Q["bells"])]
        ring(ports, word)

    def exchange(
        self,
        epoch: str,
        outcomes: Sequence[Outcome],
        want: Want | None,
        *,
        within: object = None,
        now: float | None = None,
    ) -> Exchanged:
        """Settle and lease in one transaction; read the payloads after it."""
        self._prepare()
        if within is not None:
            with borrow(within, self.path) as borrowed:
                turn = Turn(borrowed.execute, self._now(now))
                answer, _ = exchange(turn, epoch, outcomes, None)
                turn.flush()
            return answer
        with self._connections.back() as connection:

            def verb(turn: Turn) -> tuple[Exchanged, Lease | None]:
                self._seen = connection.execute("PRAGMA data_version").fetchone()[0]
                return exchange(turn, epoch, outcomes, want)

            answer, lease = self._write(connection, verb, now)
            if lease is not None:
                answer = Exchanged(answer.settled, read_leased(connection.execute, lease))
        self._checkpointer.committed()
        return answer

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the file's write lock for the block: one transactional task runs at a time."""
        self._prepare()
        lent = self._connections
        with lent.first_in_line(), lent.front() as connection, whole(connection):
            self._holding.lock = True
            try:
                yield connection
            finally:
                self._holding.lock = False
        self._ring()
        self._checkpointer.committed()

    def note(self, epoch: str, job: LeasedJob, progress: str) -> bool:
        """Keep a running job's progress, if it is still ours; in a `transaction` there is none."""
        if getattr(self._holding, "lock", False):
            return True  # a second connection would wait for this very thread

        def verb(turn: Turn) -> bool:
            row = turn.execute(Q["lease_ids"], (job.fence, epoch)).fetchone()
            ours = row is not None and job.id in decode_ids(row[0])
            ours = ours and turn.execute(Q["epoch_open"], (epoch,)).fetchone() is not None
            if ours:
                turn.execute(Q["put_progress"], (job.id, progress))
            return ours

        with self._connections.back() as connection:
            return self._write(connection, verb, None)

    def heartbeat(self, worker: WorkerInfo, *, ttl: float, now: float | None = None) -> Orders:
        """Renew the epoch; the first one opens it, and the worker's doorbell with it."""
        bell = self._bell(worker)
        orders = self._front(lambda turn: heartbeat(turn, worker, ttl, bell), now)
        if orders.lost or worker.state == "stopped":
            self._bells.pop(worker.epoch, None)
        if worker.state == "stopped":
            self._ring()  # what it gave back may be for others
        return orders

    def _bell(self, worker: WorkerInfo) -> int | None:
        if worker.state != "running":
            return None
        bell = self._bells.get(worker.epoch)
        if bell is None or bell.pid != os.getpid():
            bell = self._bells[worker.epoch] = Bell()
        return bell.port

    def reap(
        self,
        *,
        epoch: str | None = None,
        evidence: Evidence | None = None,
        limit: int = 1_000,
        now: float | None = None,
    ) -> list[Reaped]:
        """Take back what dead workers held."""
        reaped = self._front(lambda turn: reap(turn, epoch, evidence, limit), now)
        if reaped:
            self._ring()
        return reaped

    def wait(self, worker: WorkerInfo, timeout: float) -> bool:
        """Sleep on the doorbell, and look at the file's version now and then for what it missed."""
        bell = self._bells.get(worker.epoch)
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            poll = min(left, POLL * random.uniform(0.75, 1.25), self._until_due())
            if self._rang(bell, poll) and self._woken.pop(worker.epoch, False):
                return True
            if self._may_have_jobs(worker):
                return True
        return False

    @staticmethod
    def _rang(bell: Bell | None, seconds: float) -> bool:
        if bell is None:
            time.sleep(seconds)
            return False
        return bell.wait(seconds)

    def _until_due(self) -> float:
        with self._connections.back() as connection:
            row = connection.execute(Q["next_due"]).fetchone()
        return max(row[0] - self.clock(), 0.001) if row else POLL

    def _may_have_jobs(self, worker: WorkerInfo) -> bool:
        """Look without writing: an empty exchange of each idle worker would wake all the others."""
        with self._connections.back() as connection:
            execute = connection.execute
            due = execute(Q["next_due"]).fetchone()
            if due is not None and due[0] <= self.clock():
                return True
            version = execute("PRAGMA data_version").fetchone()[0]
            if version == self._seen:
                return False
            self._seen = version
            served, ready = set(worker.queues), ready_queues(execute)
            return any("*" in served or {one, base_of(one)} & served for one in ready)

    def wake(self, worker: WorkerInfo) -> None:
        """End this worker's `wait` early."""
        bell = self._bells.get(worker.epoch)
        if bell is not None:
            self._woken[worker.epoch] = True
            ring([bell.port])

    # ---- operators

    def find(
        self,
        where: JobFilter,
        *,
        limit: int = 100,
        after: JobId | None = None,
        now: float | None = None,
    ) -> list[JobRecord]:
        """List jobs from one consistent view of the file."""
        at = self._now(now)
        return self._look(lambda run: find(run, where, limit=limit, after=after, now=at))

    def count(self, *, now: float | None = None) -> list[QueueStats]:
        """Return the counters of every queue."""
        return self._look(lambda run: count(run, self._now(now)))

    def ready(self) -> dict[str, int]:
        """Return how many jobs of each queue can be leased now; the paused are left out."""
        self._prepare()
        with self._connections.back() as connection:
            return ready_queues(connection.execute)

    def _look(self, verb: Callable[[Callable[..., Any]], T]) -> T:
        """Run a verb that reads on one consistent view of the file."""
        self._prepare()
        with self._connections.front() as connection:
            connection.execute("BEGIN")
            try:
                return verb(connection.execute)
            finally:
                connection.rollback()

    def change(
        self, where: JobFilter, action: Action, *, limit: int = 1_000, now: float | None = None
    ) -> int:
        """Act on matching jobs; workers learn of it at once."""
        changed = self._front(lambda turn: change(turn, where, action, limit), now)
        if changed:
            self._ring(ORDER if action == "cancel" else WAKE)
        return changed

    def pause(self, queue: str, *, paused: bool) -> None:
        """Stop or resume leasing from a queue."""
        self._front(lambda turn: turn.execute(Q["put_queue"], (queue, int(paused))), None)
        if not paused:
            self._ring()

    def workers(self, *, now: float | None = None) -> list[WorkerInfo]:  # noqa: ARG002
        """List the workers whose epoch is open."""
        self._prepare()
        with self._connections.front() as connection:
            return read_workers(connection.execute(Q["open_workers"]).fetchall())

    def order(self, epoch: str, order: Order) -> bool:
        """Leave an order for a worker's next heartbeat."""
        return self._front(lambda turn: give_order(turn, epoch, order), None)

    def prune(self, retention: Retention, *, limit: int = 10_000, now: float | None = None) -> int:
        """Delete old records."""
        return self._front(lambda turn: prune(turn, retention, limit), now)
