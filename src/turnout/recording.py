"""How an application's jobs come to be recorded: through its middleware, and to which store.

    within the caller's transaction   the store itself, or the outbox in the caller's database
    else                              the store, or the buffer while the store is away
    its queue is at a ceiling         as that says (pressure.py), before any of these

Whichever it is, the job has its id before, and a handle and an event after.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from turnout.ahead import one_ahead
from turnout.buffer import buffer_of
from turnout.errors import ArgumentError, EnqueueError
from turnout.events import JobEnqueued
from turnout.handle import Job, in_thread
from turnout.job import JobId, NewJob
from turnout.middleware import check_middleware, compose
from turnout.outbox import wrapped
from turnout.pressure import SHED
from turnout.store.protocol import MAX_BATCH, AwaitsCallers
from turnout.within import connection_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from turnout.app import Turnout
    from turnout.task import PreparedJob

Ids = Sequence[JobId | None]
Record = Callable[[list[NewJob]], Ids]


class Recorder:
    """Records the jobs of one application."""

    def __init__(self, app: Turnout) -> None:
        self._app = app
        self._buffer = buffer_of(app) if app.config.on_unavailable == "buffer" else None
        self._layers: list[Callable[..., Any]] = []
        self._shape: Callable[[NewJob], NewJob | None] | None = None

    def add_layer(self, layer: Callable[..., Any]) -> None:
        """Put one more layer of middleware around every enqueue."""
        check_middleware(layer)
        self._layers.append(layer)
        self._shape = compose(self._layers, lambda job: job)

    def waits(self, job_id: JobId) -> bool:
        """Tell whether a job waits in this process for its store to come back."""
        buffered = self._buffer is not None and self._buffer.holds(job_id)
        return buffered or self._app.pressure.holds(job_id)

    def close(self) -> None:
        """Try once more to record what waits."""
        if self._buffer is not None:
            self._buffer.close()
        self._app.pressure.close()

    # ---- the ways in

    def record(self, new: NewJob, within: object = None) -> Job[Any]:
        """Record one job, whose id was made for this very call."""
        if within is None and connection_of(self._app) is None:
            one: Callable[[NewJob], JobId | None] | None
            one = getattr(self._app.store, "enqueue_new", None)
            if one is not None:
                return self.record_by(self._buffered(lambda jobs: [one(jobs[0])]), [new])[0]
        return self._record([new], within)[0]

    def _record(self, jobs: list[NewJob], within: object = None) -> list[Job[Any]]:
        connection = connection_of(self._app) if within is None else within
        if connection is None:
            return self.record_by(self._buffered(self._enqueue), jobs)
        return self.record_by(partial(self._enqueue_within, connection), jobs, within=True)

    async def arecord(self, jobs: list[NewJob], within: object = None) -> list[Job[Any]]:
        """Record jobs from a coroutine: in a thread, or awaited on the caller's connection."""
        connection = connection_of(self._app) if within is None else within
        if connection is None:
            await self._await_room(jobs)
            return await in_thread(self._record, jobs)
        has_outbox = self._app.config.outbox is not None
        store = self._app.outbox if has_outbox else self._app.store
        if not isinstance(store, AwaitsCallers):
            return self._record(jobs, connection)
        shaped, kept = self._shaped(jobs)
        pressure = self._app.pressure
        sifted = await in_thread(pressure.sift, kept, within=True) if pressure.ceilings else None
        left = kept if sifted is None else sifted.left
        sent = wrapped(left) if has_outbox else left
        ids = await store.aenqueue(sent, within=connection) if left else []
        if sifted is not None:
            ids = pressure.answers(kept, sifted, ids)
        return self._handles(jobs, shaped, ids)

    async def _await_room(self, jobs: list[NewJob]) -> None:
        """Wait for room in full queues on the event loop, so that no thread waits for it."""
        pressure = self._app.pressure
        if pressure.ceilings:
            from asyncio import sleep

            until = pressure.deadline(jobs, within=False)
            while (pause := await in_thread(pressure.pause, jobs, until)) is not None:  # noqa: ASYNC110
                await sleep(pause)

    def record_many(self, chunks: Iterator[list[NewJob]]) -> list[Job[Any]]:
        """Record many jobs a chunk at a time; the next is read while the store records one."""
        if connection_of(self._app) is not None:  # the caller's: nobody else may use it
            return [handle for chunk in chunks for handle in self._record(chunk)]
        first = next(chunks, [])
        if len(first) < MAX_BATCH:
            return self._record(first) if first else []
        batches = ((chunk, *self._shaped(chunk)) for chunk in chain([first], chunks))
        handles: list[Job[Any]] = []
        for (jobs, shaped, _), ids in one_ahead(batches, self._enqueue_kept):
            handles += self._handles(jobs, shaped, ids)
        return handles

    def record_by(
        self, enqueue: Record, jobs: list[NewJob], *, within: bool = False
    ) -> list[Job[Any]]:
        """Record jobs by the verb given, with middleware and events, below their ceilings."""
        shaped, kept = self._shaped(jobs)
        if self._app.pressure.ceilings:
            enqueue = partial(self._below_ceilings, enqueue, within=within)
        return self._handles(jobs, shaped, enqueue(kept) if kept else ())

    def _below_ceilings(self, enqueue: Record, jobs: list[NewJob], *, within: bool = False) -> Ids:
        pressure = self._app.pressure
        until = pressure.deadline(jobs, within=within)
        while (pause := pressure.pause(jobs, until)) is not None:
            time.sleep(pause)
        return pressure.enqueue(enqueue, jobs, within=within)

    # ---- the verbs

    def _enqueue(self, jobs: list[NewJob]) -> Ids:
        return self._app.store.enqueue(jobs)

    def _enqueue_kept(self, batch: tuple[object, object, list[NewJob]]) -> Ids:
        kept, enqueue = batch[2], self._buffered(self._enqueue)
        if self._app.pressure.ceilings:
            enqueue = partial(self._below_ceilings, enqueue)
        return enqueue(kept) if kept else ()

    def _enqueue_within(self, connection: object, jobs: list[NewJob]) -> Ids:
        if self._app.config.outbox is None:
            return self._app.store.enqueue(jobs, within=connection)
        return self._app.outbox.enqueue(wrapped(jobs), within=connection)

    def _buffered(self, record: Record) -> Record:
        """Return a verb that keeps the jobs here while the store is away, where that is wanted."""
        return record if self._buffer is None else partial(self._buffer.enqueue, record=record)

    # ---- before and after

    def _shaped(self, jobs: list[NewJob]) -> tuple[list[NewJob | None], list[NewJob]]:
        """Return what the middleware makes of jobs, None for the refused; and without those."""
        if self._shape is None:
            return [*jobs], jobs
        shaped = [_checked_shape(self._shape(job)) for job in jobs]
        return shaped, [job for job in shaped if job is not None]

    def _handles(
        self, jobs: list[NewJob], shaped: list[NewJob | None], ids: Iterable[JobId | None]
    ) -> list[Job[Any]]:
        answers = iter(ids)
        handles: list[Job[Any]] = []
        app = self._app
        wanted = app.events.wants(JobEnqueued)
        for old, job in zip(jobs, shaped, strict=True):
            answer = None if job is None else next(answers)
            done, chosen = bool(answer), job or old
            handles.append(Job(app, chosen.id, chosen.task, enqueued=done, shed=answer == SHED))
            if wanted and done:
                app.events.emit(JobEnqueued(chosen.id, chosen.task, chosen.queue))
        return handles


def _checked_shape(job: NewJob | None) -> NewJob | None:
    if job is None or isinstance(job, NewJob):
        return job
    msg = f"an around_enqueue layer returns proceed(job) or None, got {job!r:.80}"
    raise EnqueueError(msg)


def chunked(prepared: Iterable[PreparedJob[Any]]) -> Iterator[list[NewJob]]:
    """Yield the jobs of what `Task.prepare` returned, a batch at a time, reading lazily."""
    source = iter(prepared)
    while chunk := [_new(item) for item in islice(source, MAX_BATCH)]:
        yield chunk


def _new(item: PreparedJob[Any]) -> NewJob:
    try:
        return item.new
    except AttributeError:
        msg = f"enqueue_many takes what task.prepare(...) returns, got {item!r:.80}"
        raise ArgumentError(msg) from None
