"""The verb `enqueue`: one statement for a batch, the same on our connection and on the caller's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

from turnout.store.batch import check_batch
from turnout.store.postgres.base import SEPARATOR, array, text_array
from turnout.store.postgres.connection import repeated
from turnout.store.postgres.single import is_plain
from turnout.store.postgres.within import Statement, is_async, record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from turnout.job import JobId, NewJob
    from turnout.store.postgres.bell import Pacer
    from turnout.store.postgres.connection import Connection
    from turnout.store.postgres.single import Single
    from turnout.store.postgres.within import Home
    from turnout.store.server.marks import Marks

T = TypeVar("T")


class Enqueues(ABC):
    """The ways in: a batch, one new job, and either of them in the caller's transaction."""

    _queries: dict[str, str]
    _sql: dict[str, bytes]
    _channel: str
    _home: Home
    _marks: Marks
    _pacer: Pacer
    _single: Single

    @abstractmethod
    def _lend(self) -> AbstractContextManager[Connection]: ...

    def enqueue(
        self, jobs: Sequence[NewJob], *, within: object = None, now: float | None = None
    ) -> list[JobId | None]:
        """Record jobs in a transaction of their own, or in the caller's."""
        if not jobs:
            return []
        if within is not None:
            [(taken, _)] = record(within, self._home, self._enqueueing(jobs, now, self._channel))
            return read_ids(jobs, taken)
        values = self._enqueueing(jobs, now, None).values
        return read_ids(jobs, repeated(lambda: self._enqueue(values)))

    def _enqueue(self, values: tuple[object, ...]) -> list[JobId]:
        with self._lend() as connection:
            taken: list[JobId]
            [(taken, sleepers)] = connection.execute(self._sql["enqueue"], values).fetchall()
            if sleepers:
                self._ring(connection)
        return taken

    def enqueue_new(self, job: NewJob) -> JobId | None:
        """Record one job whose id was made for this very call."""
        if is_plain(job):
            with self._lend() as connection:
                sleepers = self._single.record(connection, job)
                if sleepers:
                    self._ring(connection)
            if sleepers is not None:
                return job.id
        return self.enqueue([job])[0]

    def _ring(self, connection: Connection) -> None:
        if self._pacer.is_due():
            connection.execute(self._sql["notify"], (self._channel, ""))

    async def aenqueue(
        self, jobs: Sequence[NewJob], *, within: object, now: float | None = None
    ) -> list[JobId | None]:
        """Record jobs in the caller's transaction, awaited where its connection is."""
        if not jobs or not is_async(within):
            return self.enqueue(jobs, within=within, now=now)
        from turnout.store.postgres import within_async  # asyncio is for those who await

        statement = self._enqueueing(jobs, now, self._channel)
        [(taken, _)] = await within_async.record(within, self._home, statement)
        return read_ids(jobs, taken)

    def _enqueueing(
        self, jobs: Sequence[NewJob], now: float | None, channel: str | None
    ) -> Statement:
        check_batch(jobs)
        if now is not None or any(job.run_at is not None for job in jobs):
            self._marks.clear()
        return Statement(self._queries["enqueue"], enqueue_values(jobs, now, channel))


def enqueue_values(
    jobs: Sequence[NewJob], now: float | None, channel: str | None
) -> tuple[Any, ...]:
    """Return what the statement `enqueue` binds, a column a text.

    None stands for a column of only nulls, one element for all jobs of the same task, queue or
    priority.
    """
    if len({job.id for job in jobs}) < len(jobs):  # one that is repeated counts where it came first
        first: dict[JobId, NewJob] = {}
        for job in jobs:
            first.setdefault(job.id, job)
        jobs = list(first.values())
    unique = None
    if any(job.unique is not None for job in jobs):
        unique = [job.unique for job in jobs]
    return (
        array([job.id for job in jobs]),
        text_array(_shared([job.task for job in jobs])),
        text_array(_shared([job.queue for job in jobs])),
        SEPARATOR.join([job.args for job in jobs]),
        array(_shared([-job.priority for job in jobs])),
        _column(array, [job.run_at for job in jobs]),
        _column(array, [job.expires_at for job in jobs]),
        _column(text_array, [job.context for job in jobs]),
        None if unique is None else text_array([each.key if each else None for each in unique]),
        None if unique is None else text_array([each.until if each else None for each in unique]),
        None if unique is None else array([each.ttl if each else None for each in unique]),
        now,
        channel,
    )


def _shared(values: list[T]) -> list[T]:
    return values[:1] if values.count(values[0]) == len(values) else values


def _column(written: Callable[[list[Any]], str], values: list[Any]) -> str | None:
    return None if values.count(None) == len(values) else written(values)


def read_ids(jobs: Sequence[NewJob], taken: Sequence[JobId]) -> list[JobId | None]:
    """Return the ids of a batch, None where the unique key was taken."""
    if not taken:
        return [job.id for job in jobs]
    refused = set(taken)
    return [None if job.id in refused else job.id for job in jobs]
