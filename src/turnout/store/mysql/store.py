"""The MySQL and MariaDB adapter: the Store protocol over the tables of one prefix.

Each verb is one transaction and lives in the file of its name; this class lends connections, keeps
the low-water marks, and rings after commits. The tables are set up at first use.

An exchange whose reply was lost may have leased jobs that nobody here knows of: the next of that
epoch asks by the same fence, which was made here, and is answered with that lease.
"""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from turnout.errors import WithinError
from turnout.identity import host
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
from turnout.store.bell import ORDER, WAKE, Bell, Ordered, ring
from turnout.store.mysql import checks
from turnout.store.mysql.base import Turn, in_list, queries_of, schema_text
from turnout.store.mysql.connection import NO_SAVEPOINT, Connections, retried, run, whole
from turnout.store.mysql.driver import Connection, Error, number_of
from turnout.store.mysql.enqueue import enqueue
from turnout.store.mysql.exchange import Answer, lease_values, settle_values
from turnout.store.mysql.records import find
from turnout.store.mysql.url import read_url
from turnout.store.mysql.within import IDENTITY, Borrowed, refusals
from turnout.store.orders import read_workers
from turnout.store.server import upkeep
from turnout.store.server.change import change
from turnout.store.server.count import count
from turnout.store.server.fence import Doubts
from turnout.store.server.marks import SHARE, Marks
from turnout.store.server.measuring import KeepsMetrics
from turnout.store.server.outcomes import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from turnout.crash import Evidence

T = TypeVar("T")
Rows = list[tuple[Any, ...]]
_POLL_FIRST, _POLL_MOST = 0.005, 0.1


class MySQLStore(KeepsMetrics, Ordered[Bell]):
    """Jobs in one database, shared by any number of processes of any number of machines."""

    def __init__(self, where: dict[str, Any], *, prefix: str = "turnout_") -> None:
        self.prefix = prefix
        self._where = where
        self._host = host()
        self._queries = queries_of(prefix)
        self._connections = Connections(where)
        self._tasks = Connections(where, patience=None)  # a task's own statement may take long
        self._marks = Marks()
        self._bells: dict[str, Bell] = {}
        self._woken: dict[str, bool] = {}
        self._doubts = Doubts()
        self._levels: set[tuple[str, int]] = set()
        self._identity: tuple[object, ...] | None = None
        self._ready = False
        self._setup_lock = threading.Lock()

    @classmethod
    def from_url(cls, url: str) -> MySQLStore:
        """Read `mysql://user:password@host:port/database`, or `mariadb://`, and its options.

        `?prefix=` begins the names of our tables (turnout_), so that two applications can share a
        database. `?unix_socket=` and `?ssl_ca=` go to the driver.
        """
        where, prefix = read_url(url)
        return cls(where, prefix=prefix)

    @staticmethod
    def schema_sql(url: str) -> str:
        """Return the SQL that `setup` runs in an empty database."""
        return schema_text(MySQLStore.from_url(url).prefix)

    # ---- life

    def setup(self) -> None:
        """Create or upgrade the tables; safe to repeat."""
        with self._setup_lock:
            with self._connections.lend() as connection:
                checks.migrate(connection, self.prefix)
                self._identity = run(connection, IDENTITY)[0]
            self._ready = True

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._bells.clear()
        self._connections.close()
        self._tasks.close()

    def describe(self) -> StoreInfo:
        """Say what this is and what survives which crash."""
        with self._connections.lend() as connection:
            kept, warnings = checks.settings(connection)
            name, version = checks.product(connection)
        return StoreInfo(
            name=f"{name} {'.'.join(map(str, version))}",
            location="{host}:{port}/{database} tables ".format(**self._where) + f"{self.prefix}*",
            enqueue_survives=kept,
            settle_survives=kept,
            warnings=warnings,
        )

    @contextmanager
    def _lend(self) -> Iterator[Connection]:
        if not self._ready:
            self.setup()
        with self._connections.lend() as connection:
            yield connection

    def _write(self, verb: Callable[[Turn], T], now: float | None) -> T:
        with self._lend() as connection:

            def work() -> T:
                return whole(connection, lambda: verb(Turn(connection, self._queries, now)))

            return retried(connection, work)

    def _look(self, verb: Callable[[Turn], T], now: float | None) -> T:
        with self._lend() as connection:
            run(
                connection,
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; "
                "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
            )
            answer = verb(Turn(connection, self._queries, now))
            run(connection, "COMMIT")
            return answer

    def _call(self, connection: Connection, query: str, values: dict[str, Any]) -> Rows:
        """Run a statement in a transaction of its own, and all of it in one round trip."""
        return run(connection, f"START TRANSACTION; {self._queries[query]}; COMMIT", values)

    # ---- the path of a job

    def enqueue(
        self, jobs: Sequence[NewJob], *, within: object = None, now: float | None = None
    ) -> list[JobId | None]:
        """Record jobs in a transaction of their own, or in the caller's."""
        if not jobs:
            return []
        check_batch(jobs)
        if now is not None or any(job.run_at is not None for job in jobs):
            self._marks.clear()
        if within is not None:
            return self._enqueue_within(jobs, within, now)
        with self._lend() as connection:

            def work() -> tuple[list[JobId | None], list[int]]:
                call = lambda values: run(connection, self._queries["enqueue"], values)  # noqa: E731
                return whole(connection, lambda: enqueue(call, jobs, now, self._host))

            ids, bells = retried(connection, work)
        ring(bells)
        return ids

    def _enqueue_within(
        self, jobs: Sequence[NewJob], within: object, now: float | None
    ) -> list[JobId | None]:
        self._make_levels(jobs)
        with self._borrow(within) as borrowed:
            call = lambda values: borrowed.rows(self._queries["enqueue"], values)  # noqa: E731
            ids, bells = enqueue(call, jobs, now, self._host)
        borrowed.after_commit(lambda: ring(bells))
        return ids

    def _make_levels(self, jobs: Sequence[NewJob]) -> None:
        """Note new priorities ahead: in a caller's long transaction they would hold others up."""
        new = {(job.queue, -job.priority) for job in jobs} - self._levels
        for level in sorted(new):
            self._write(lambda turn, level=level: turn.do("put_level", *level), 0.0)  # type: ignore[misc]
            self._levels.add(level)

    @contextmanager
    def _borrow(self, within: object) -> Iterator[Borrowed]:
        if self._identity is None:
            self.setup()
        with refusals():
            borrowed = Borrowed(within, self._identity or ())
            with borrowed.all_or_nothing():
                yield borrowed

    def exchange(
        self,
        epoch: str,
        outcomes: Sequence[Outcome],
        want: Want | None,
        *,
        within: object = None,
        now: float | None = None,
    ) -> Exchanged:
        """Settle and lease in one round trip."""
        batch = Batch(outcomes)
        if within is not None:
            with self._borrow(within) as borrowed:
                query = self._queries["exchange"]
                return self._converse(
                    lambda values: borrowed.rows(query, values), epoch, batch, None, now
                )
        with self._lend() as connection:

            def exchange_once(values: dict[str, Any]) -> Rows:
                return retried(connection, lambda: self._call(connection, "exchange", values))

            return self._converse(exchange_once, epoch, batch, want, now)

    def _converse(
        self,
        call: Callable[[dict[str, Any]], Rows],
        epoch: str,
        batch: Batch,
        want: Want | None,
        now: float | None,
    ) -> Exchanged:
        if batch.puts_back:
            self._marks.clear()
        fence = self._doubts.fence(epoch)
        while True:
            age, marks, sweep = self._marks.look()
            asked = lease_values(fence, want, marks, sweep=sweep)
            with self._doubts.kept(epoch, None if want is None else fence):
                rows = call({"epoch": epoch, "now": now, **settle_values(batch), **asked})
            answer = Answer(rows)
            if answer.lost:
                return Exchanged([], [], lost=True)
            if not answer.remarks:
                self._marks.learn(age, answer.leased)
                if answer.leased:
                    self._doubts.forget(epoch)
                return Exchanged(batch.ids, answer.leased)
            batch.heed(answer.remarks)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Lend a connection in a transaction of its own, which ends with the block."""
        if not self._ready:
            self.setup()
        with self._tasks.lend() as connection:
            run(connection, "START TRANSACTION; SAVEPOINT turnout_task")
            yield connection
            try:
                run(connection, "RELEASE SAVEPOINT turnout_task; COMMIT")
            except Error as error:
                if number_of(error) != NO_SAVEPOINT:
                    raise
                msg = (
                    "a transactional task leaves commit and rollback to the worker, this one did "
                    "not; CREATE, ALTER, DROP and TRUNCATE commit too"
                )
                raise WithinError(msg) from error

    def note(self, epoch: str, job: LeasedJob, progress: str) -> bool:
        """Keep a running job's progress, if it is still ours."""
        values = (job.id, progress, job.fence, epoch, job.id)
        return self._write(lambda turn: turn.do("note", *values), 0.0) > 0

    def heartbeat(self, worker: WorkerInfo, *, ttl: float, now: float | None = None) -> Orders:
        """Renew the epoch; the first one opens it, and the worker's doorbell with it."""
        port = self._bell(worker).port if worker.state == "running" else None
        orders = self._write(
            lambda turn: upkeep.heartbeat(turn, worker, ttl, self._host, port), now
        )
        if orders.lost or worker.state == "stopped":
            self._doubts.forget(worker.epoch)
            self._bells.pop(worker.epoch, None)
            self._put_back()
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
        if reaped := self._write(lambda turn: upkeep.reap(turn, epoch, evidence, limit), now):
            self._put_back()
        return reaped

    def _put_back(self, word: bytes = WAKE) -> None:
        """Let everybody look again: something came back, maybe below the marks."""
        self._marks.clear()
        with self._lend() as connection:
            ports = [port for (port,) in run(connection, self._queries["bells"], {"1": self._host})]
        ring(ports, word)

    def wait(self, worker: WorkerInfo, timeout: float) -> bool:
        """Sleep on the doorbell, and look now and then for what it missed: seldom, when idle."""
        bell = self._bell(worker)
        deadline, poll = time.monotonic() + timeout, _POLL_FIRST
        while (left := deadline - time.monotonic()) > 0:
            began = time.monotonic()
            due = self._until_ready(worker)
            if due <= 0:
                self._marks.clear()  # it may lie below them
                return True
            # A look walks over what was claimed while somebody keeps an old snapshot: see marks.py.
            pause = max(poll * random.uniform(0.75, 1.25), SHARE * (time.monotonic() - began))
            rang = bell.wait(min(left, due, pause))
            if rang and self._woken.pop(worker.epoch, False):
                return True
            poll = min(poll * 1.5, _POLL_MOST)
        return False

    def _bell(self, worker: WorkerInfo) -> Bell:
        bell = self._bells.get(worker.epoch)
        if bell is None or bell.pid != os.getpid():
            bell = self._bells[worker.epoch] = Bell()
        return bell

    def _until_ready(self, worker: WorkerInfo) -> float:
        with self._lend() as connection:
            values = {"1": in_list(list(worker.queues)), "2": "*" in worker.queues}
            [(is_ready, due)] = run(connection, self._queries["look"], values)
        return 0.0 if is_ready else _POLL_MOST if due is None else float(due)

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
        """List jobs from one consistent view."""
        return self._look(lambda turn: find(turn, where, limit=limit, after=after), now)

    def count(self, *, now: float | None = None) -> list[QueueStats]:
        """Return the counters of every queue."""
        return self._look(count, now)

    def ready(self) -> dict[str, int]:
        """Return how many jobs of each queue can be leased now; the paused are left out."""
        with self._lend() as connection:
            return dict(run(connection, self._queries["ready_queues"], {}))

    def change(
        self, where: JobFilter, action: Action, *, limit: int = 1_000, now: float | None = None
    ) -> int:
        """Act on matching jobs; workers learn of it at once."""
        if changed := self._write(lambda turn: change(turn, find, where, action, limit), now):
            self._put_back(ORDER if action == "cancel" else WAKE)
        return changed

    def pause(self, queue: str, *, paused: bool) -> None:
        """Stop or resume leasing from a queue."""
        self._write(lambda turn: turn.do("put_queue", queue, paused), 0.0)
        if not paused:
            self._put_back()

    def workers(self, *, now: float | None = None) -> list[WorkerInfo]:  # noqa: ARG002
        """List the workers whose epoch is open."""
        return read_workers(self._look(lambda turn: turn.rows("open_workers"), 0.0))

    def order(self, epoch: str, order: Order) -> bool:
        """Leave an order for a worker's next heartbeat."""
        return self._write(lambda turn: upkeep.order(turn, epoch, order), 0.0)

    def prune(self, retention: Retention, *, limit: int = 10_000, now: float | None = None) -> int:
        """Delete old records."""
        return self._write(lambda turn: upkeep.prune(turn, retention, limit), now)
