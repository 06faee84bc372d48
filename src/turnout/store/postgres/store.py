"""The PostgreSQL adapter: the Store protocol over one schema of one database.

Each verb is one transaction and lives in the file of its name; this class lends connections, keeps
the low-water marks, and rings after commits. The schema is set up at first use.

An exchange whose reply was lost may have leased jobs that nobody here knows of. Its fence was made
here, so the next exchange of that epoch asks for the same fence again: the server answers with that
lease, if it exists, in place of a new one.
"""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import contextmanager
from itertools import starmap
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

from turnout.errors import StoreUnavailable
from turnout.job import (
    Action,
    Exchanged,
    JobFilter,
    JobId,
    JobRecord,
    LeasedJob,
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
from turnout.store.bell import Ordered
from turnout.store.orders import read_workers
from turnout.store.postgres import checks
from turnout.store.postgres.base import Turn, queries_of, schema_text
from turnout.store.postgres.bell import ORDER, POLL, Bell, Pacer
from turnout.store.postgres.connection import Connections, repeated
from turnout.store.postgres.enqueue import Enqueues
from turnout.store.postgres.exchange import mark_values, settle_values, want_values
from turnout.store.postgres.records import find
from turnout.store.postgres.sent import Sent
from turnout.store.postgres.single import Single
from turnout.store.postgres.url import place, read_url
from turnout.store.postgres.within import Home, borrow, identity
from turnout.store.recent import Recent
from turnout.store.server.change import change
from turnout.store.server.count import count
from turnout.store.server.fence import Doubts
from turnout.store.server.marks import SHARE, Marks
from turnout.store.server.measuring import KeepsMetrics
from turnout.store.server.outcomes import Batch
from turnout.store.server.upkeep import heartbeat, prune, reap
from turnout.store.server.upkeep import order as give_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from turnout.crash import Evidence

T = TypeVar("T")


class PostgresStore(Enqueues, KeepsMetrics, Ordered[Bell]):
    """Jobs in one schema, shared by any number of processes of any number of machines."""

    def __init__(self, conninfo: str, *, schema: str = "turnout", settle: str = "async") -> None:
        self.schema = schema
        self._async = settle == "async"
        self._conninfo = conninfo
        self._channel = f"turnout:{schema}"[:63]
        self._queries = queries_of(schema)
        self._sql = {name: text.encode() for name, text in self._queries.items()}
        self._single = Single(self._queries["enqueue_new"])
        self._connections = Connections(conninfo)
        self._marks = Marks()
        self._pacer = Pacer()
        self._bells: dict[str, Bell] = {}
        self._recent = Recent()
        self._doubts = Doubts()
        self._home = Home(lambda: self._write(identity, 0.0))
        self._ready = False
        self._setup_lock = threading.Lock()

    @classmethod
    def from_url(cls, url: str) -> PostgresStore:
        """Read `postgresql://user:password@host:port/database` and its two switches.

        `?schema=` names the schema (turnout), `?settle=durable` waits for the disk at every settle
        too (async: the last half second of settles may be lost with the server, and those jobs run
        again). Everything else goes to libpq.
        """
        conninfo, ours = read_url(url)
        return cls(conninfo, **ours)

    @staticmethod
    def schema_sql(url: str) -> str:
        """Return the SQL that `setup` runs in an empty database."""
        return schema_text(PostgresStore.from_url(url).schema)

    # ---- life

    def setup(self) -> None:
        """Create or upgrade the schema; safe to repeat."""
        with self._setup_lock, self._connections.lend() as connection:
            checks.migrate(connection, self.schema)
            self._ready = True

    def close(self) -> None:
        """Close every connection that is not in use."""
        for bell in self._bells.values():
            bell.close()
        self._bells.clear()
        self._connections.close()

    def describe(self) -> StoreInfo:
        """Say what this is and what survives which crash."""
        with self._connections.lend() as connection:
            kept = checks.survives(connection)
            version = connection.info.parameter_status("server_version")
        warnings = () if kept == "a power cut" else ("fsync or synchronous_commit is off",)
        return StoreInfo(
            name=f"PostgreSQL {version}",
            location=f"{place(self._conninfo)} schema {self.schema}",
            enqueue_survives=kept,
            settle_survives="a killed process" if self._async else kept,
            warnings=warnings,
        )

    @contextmanager
    def _lend(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        if not self._ready:
            self.setup()
        try:
            with self._connections.lend() as connection:
                yield connection
        except StoreUnavailable:  # whichever verb meets it first: those after it may work again
            self._recent.doubt()
            raise

    def _write(self, verb: Callable[[Turn], T], now: float | None) -> T:
        def write() -> T:
            with self._lend() as connection, connection.transaction():
                return verb(Turn(connection, self._queries, now))

        return repeated(write)

    def _look(self, verb: Callable[[Turn], T], now: float | None) -> T:
        with self._lend() as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return verb(Turn(connection, self._queries, now))

    # ---- the path of a job

    def exchange(
        self,
        epoch: str,
        outcomes: Sequence[Outcome],
        want: Want | None,
        *,
        within: object = None,
        now: float | None = None,
    ) -> Exchanged:
        """Settle and lease in one statement."""
        batch = Batch(outcomes)
        if within is not None:
            with borrow(within, self._home) as borrowed:
                query = self._queries["exchange"]

                def run(values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
                    # The caller's own writes commit with this: they wait for the disk.
                    return borrowed(query, (*values[:2], False, *values[3:]))

                return self._converse(run, epoch, batch, None, now)[0]
        with self._lend() as connection:
            return self._exchange(connection, epoch, batch, want, now)

    def _exchange(
        self,
        connection: psycopg.Connection[tuple[Any, ...]],
        epoch: str,
        batch: Batch,
        want: Want | None,
        now: float | None,
    ) -> Exchanged:
        sql = self._sql["exchange"]

        def run(values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
            return connection.execute(sql, values).fetchall()

        self._recent.resend(epoch, lambda some: self._converse(run, epoch, Batch(some), None, now))
        answer, settled = self._converse(run, epoch, batch, want, now)
        if self._async and batch.outcomes:
            self._recent.keep(epoch, Sent(batch, settled))
        return answer

    def _converse(
        self,
        run: Callable[[tuple[Any, ...]], list[tuple[Any, ...]]],
        epoch: str,
        batch: Batch,
        want: Want | None,
        now: float | None,
    ) -> tuple[Exchanged, tuple[Any, ...]]:
        """Settle and lease, as often as the server has remarks; the answer, and what it settled."""
        if batch.puts_back:
            self._marks.clear()
        fence = self._doubts.fence(epoch)
        while True:
            age, marks, sweep = self._marks.look()
            asked = (None, None, None, None) if want is None else (fence, *want_values(want))
            settle, look = settle_values(batch), mark_values(marks, sweep=sweep)
            with self._doubts.kept(epoch, asked[0]):
                rows = run((epoch, now, self._async, *settle, *asked, *look))
            if not rows or rows[0][13] is not None:
                leased = list(starmap(LeasedJob, rows))
                if leased:
                    self._doubts.forget(epoch)
                self._marks.learn(age, leased)
                return Exchanged(batch.ids, leased), settle
            if rows[0][1] == "lost":
                return Exchanged([], [], lost=True), settle
            batch.heed((row[0], row[1]) for row in rows)

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """Lend a connection in a transaction of its own; psycopg refuses commit() inside."""
        with self._lend() as connection, connection.transaction():
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")  # the task's
            yield connection

    def note(self, epoch: str, job: LeasedJob, progress: str) -> bool:
        """Keep a running job's progress, if it is still ours."""
        values = (job.id, progress, job.fence, epoch, job.id)
        return self._write(lambda turn: turn.do("note", *values), 0.0) > 0

    def heartbeat(self, worker: WorkerInfo, *, ttl: float, now: float | None = None) -> Orders:
        """Renew the epoch; the first one opens it."""
        if worker.state == "running":
            self._bell(worker)
        orders = self._write(lambda turn: heartbeat(turn, worker, ttl), now)
        if orders.lost or worker.state == "stopped":
            self._doubts.forget(worker.epoch)
            bell = self._bells.pop(worker.epoch, None)
            if bell is not None:
                bell.close()
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
        reaped = self._write(lambda turn: reap(turn, epoch, evidence, limit), now)
        if reaped:
            self._put_back()
        return reaped

    def _put_back(self, word: str = "") -> None:
        """Let everybody look again: something came back, maybe below the marks."""
        self._marks.clear()
        with self._lend() as connection:
            connection.execute(self._sql["notify"], (self._channel, word))

    def wait(self, worker: WorkerInfo, timeout: float) -> bool:
        """Say that we sleep, look once more, then listen; and look now and then all the same.

        Nobody says that we woke: the exchange that follows does, on its own trip.
        """
        bell = self._bell(worker)
        deadline = time.monotonic() + timeout
        with self._lend() as connection:
            connection.execute(self._sql["sleep"], (worker.epoch,))
        while (left := deadline - time.monotonic()) > 0:
            began = time.monotonic()
            due = self._until_ready(worker)
            if due <= 0:
                self._marks.clear()  # it may lie below them
                return True
            # A look walks over what was claimed while somebody keeps an old snapshot: see marks.py.
            pause = max(POLL * random.uniform(0.75, 1.25), SHARE * (time.monotonic() - began))
            if bell.wait(min(left, due, pause)):
                return True
        return False

    def _bell(self, worker: WorkerInfo) -> Bell:
        bell = self._bells.get(worker.epoch)
        if bell is None or bell.pid != os.getpid():
            bell = self._bells[worker.epoch] = Bell(self._connections, self._channel)
        return bell

    def _until_ready(self, worker: WorkerInfo) -> float:
        with self._lend() as connection:
            queues = list(worker.queues)
            row = connection.execute(self._sql["next_due"], (queues, queues, queues)).fetchone()
            return POLL if row is None or row[0] is None else float(row[0]) - time.time()

    def wake(self, worker: WorkerInfo) -> None:
        """End this worker's `wait` early."""
        bell = self._bells.get(worker.epoch)
        if bell is not None:
            bell.ring()

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
            return dict(connection.execute(self._sql["ready_queues"]).fetchall())

    def change(
        self, where: JobFilter, action: Action, *, limit: int = 1_000, now: float | None = None
    ) -> int:
        """Act on matching jobs; workers learn of it at once."""
        changed = self._write(lambda turn: change(turn, find, where, action, limit), now)
        if changed:
            self._put_back(ORDER if action == "cancel" else "")
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
        return self._write(lambda turn: give_order(turn, epoch, order), 0.0)

    def prune(self, retention: Retention, *, limit: int = 10_000, now: float | None = None) -> int:
        """Delete old records."""
        return self._write(lambda turn: prune(turn, retention, limit), now)
