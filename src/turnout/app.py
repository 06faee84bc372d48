"""`Turnout`: the one object an application makes. It knows its tasks, its store, its extensions.

Nothing is opened before the first job: importing an application costs no connection. All methods
may be called from any thread, and after a fork.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar, overload

from turnout.ahead import one_ahead
from turnout.config import load
from turnout.context import decode_context, encode_context
from turnout.decorator import TaskMaker, Transactional, Until, check_option_names
from turnout.errors import ArgumentError, ConfigError, EnqueueError, UnknownTask
from turnout.events import Events, JobEnqueued
from turnout.handle import Job, in_thread
from turnout.ids import check_id
from turnout.job import NewJob
from turnout.middleware import check_middleware, compose
from turnout.retry import DEFAULT_ATTEMPTS
from turnout.store import open_store
from turnout.store.protocol import MAX_BATCH, AwaitsCallers
from turnout.task import Task, check_known_queue
from turnout.within import Within, connection_of

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Iterator, Sequence
    from datetime import timedelta
    from typing import Unpack

    from turnout.backoff import WaitLike
    from turnout.crash import OnCrash
    from turnout.isolation import Isolate
    from turnout.job import JobId
    from turnout.retry import Rule
    from turnout.sidekiq import RubyJob, SidekiqOptions
    from turnout.store.protocol import Store
    from turnout.task import P, PreparedJob, R

M = TypeVar("M", bound="Callable[..., Any]")


class Turnout:
    """An application's tasks and where their jobs live."""

    def __init__(self, url: str | None = None, **settings: Any) -> None:
        """Take a store URL and settings; connect to nothing yet.

        Without a `url`, TURNOUT_URL counts, else sqlite:///jobs.db. Settings: `queues` (a strict
        list), `default_queue`, `max_payload` and `max_result` in bytes, `keep` (seconds that a
        success stays visible; or a dict by queue, "*" for the rest), `keep_count` a queue,
        `dead_age` in seconds, `dead_count`. Raises ConfigError with every fault at once.
        """
        self.config = load(url, environ=os.environ, **settings)
        self.tasks: dict[str, Task[Any, Any, Any]] = {}
        self.events = Events()
        self.clock: Callable[[], float] = time.time
        self.run_layers: list[Callable[..., Any]] = []
        self._enqueue_layers: list[Callable[..., Any]] = []
        self._shape: Callable[[NewJob], NewJob | None] | None = None
        self._context: dict[str, ContextVar[Any]] = {}
        self._store: Store | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Turnout {self.config.location} with {len(self.tasks)} tasks>"

    @property
    def url(self) -> str:
        """The store's URL, secrets included."""
        return self.config.url

    @property
    def store(self) -> Store:
        """The store, opened at first use."""
        if self._store is None:
            with self._lock:
                if self._store is None:
                    self._store = open_store(self.config.url)
        return self._store

    def close(self) -> None:
        """Let go of the store's connections; the next use opens them again."""
        if self._store is not None:
            self._store.close()

    # ---- tasks

    @overload
    def task(
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Task[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def task(self, fn: Callable[P, R], /) -> Task[P, R, R]: ...
    @overload
    def task(
        self,
        fn: None = None,
        /,
        *,
        name: str | None = None,
        queue: str | None = None,
        priority: int = 0,
        on_error: Sequence[Rule] = (),
        attempts: int = DEFAULT_ATTEMPTS,
        wait: WaitLike | None = None,
        timeout: float | timedelta | None = None,
        expires: float | timedelta | None = None,
        keep: float | timedelta | None = None,
        unique: bool | Callable[..., str] = False,
        unique_until: Until = "finish",
        unique_for: float | timedelta | None = None,
        transactional: Transactional = False,
        isolate: bool | Isolate = False,
        memory: int | str | None = None,
        on_crash: OnCrash = "rerun",
    ) -> TaskMaker: ...
    def task(self, fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Register a function as a task.

        `queue` and `priority` (-100..100, larger sooner) are for all its jobs; `on_error` holds
        rules made by `retry_on` and `discard_on`, tried in order; errors that no rule names are
        retried up to `attempts` runs, waiting by `wait`. `timeout` bounds one attempt, `expires`
        the time until the first start, `keep` how long a success stays visible: seconds or
        timedelta. `unique=True` lets one job with the same arguments exist, a callable returns the
        key; `unique_until` start, finish, or time (then `unique_for` says how long).
        `transactional=True` gives the task a transaction in the store's database,
        `current_job().connection`, in which its success is recorded too; or give what opens one,
        such as `Session.begin`. `isolate=True` runs it in a child process that its `timeout` kills
        and whose `memory` ("512MB") can be bounded. `on_crash` says what follows when its process
        dies: rerun (at most twice), dead or discard. Raises ConfigError at decoration.
        """
        if fn is not None:
            return TaskMaker(self)(fn)
        check_option_names(options)
        return TaskMaker(self, **options)

    def register(self, task: Task[Any, Any, Any]) -> None:
        """Add a task; raises ConfigError when its name is taken by another function."""
        other = self.tasks.get(task.name)
        if other is not None and other.fn.__code__ != task.fn.__code__:
            msg = f"two functions claim the task name {task.name!r}: give one of them name="
            raise ConfigError(msg)
        self.tasks[task.name] = task

    def find_task(self, name: str) -> Task[Any, Any, Any]:
        """Return a task by name; raises UnknownTask with the names that exist."""
        try:
            return self.tasks[name]
        except KeyError:
            known = ", ".join(sorted(self.tasks)) or "none"
            msg = f"no task is named {name!r}; known are: {known}"
            raise UnknownTask(msg) from None

    def check_queue(self, name: str) -> str:
        """Return a queue's name; raises ConfigError when it may not be used here."""
        return check_known_queue(name, self.config.queues)

    # ---- enqueue

    def record(self, new: NewJob, *, within: object = None) -> Job[Any]:
        """Record one job that `Task.build` made."""
        return self._record([new], within)[0]

    async def arecord(self, new: NewJob, *, within: object = None) -> Job[Any]:
        """Record one job from a coroutine; a caller's connection is used where it lives, here."""
        return (await self._arecord([new], within))[0]

    def _record(self, jobs: list[NewJob], within: object = None) -> list[Job[Any]]:
        connection = connection_of(self) if within is None else within
        return self.record_by(partial(self.store.enqueue, within=connection), jobs)

    async def _arecord(self, jobs: list[NewJob], within: object = None) -> list[Job[Any]]:
        connection = connection_of(self) if within is None else within
        if connection is None:
            return await in_thread(self._record, jobs)
        store = self.store
        if not isinstance(store, AwaitsCallers):
            return self._record(jobs, connection)
        shaped, kept = self._shaped(jobs)
        ids = await store.aenqueue(kept, within=connection) if kept else []
        return self._handles(jobs, shaped, ids)

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
        wanted = self.events.wants(JobEnqueued)
        for old, job in zip(jobs, shaped, strict=True):
            done = job is not None and next(answers) is not None
            chosen = job or old
            handles.append(Job(self, chosen.id, chosen.task, enqueued=done))
            if wanted and done:
                self.events.emit(JobEnqueued(chosen.id, chosen.task, chosen.queue))
        return handles

    def record_by(
        self, enqueue: Callable[[list[NewJob]], Sequence[JobId | None]], jobs: list[NewJob]
    ) -> list[Job[Any]]:
        """Record jobs by another verb than the store's `enqueue`, with middleware and events."""
        shaped, kept = self._shaped(jobs)
        return self._handles(jobs, shaped, enqueue(kept) if kept else ())

    # ---- Ruby

    @overload
    def sidekiq(
        self, name: str, stub: Callable[P, object], /, **options: Unpack[SidekiqOptions]
    ) -> RubyJob[P]: ...
    @overload
    def sidekiq(self, name: str, /, **options: Unpack[SidekiqOptions]) -> RubyJob[...]: ...
    def sidekiq(self, name: str, stub: Any = None, /, **options: Any) -> Any:
        """Return a job class of Ruby's Sidekiq, to enqueue for; options as for `RubyJob.using`.

        `stub` is a function with the signature of its `perform`. An enqueue raises ConfigError on a
        store that is not Redis.
        """
        from turnout.sidekiq import RubyJob

        return RubyJob(self, name, stub, options)

    @overload
    def active_job(
        self, name: str, stub: Callable[P, object], /, **options: Unpack[SidekiqOptions]
    ) -> RubyJob[P]: ...
    @overload
    def active_job(self, name: str, /, **options: Unpack[SidekiqOptions]) -> RubyJob[...]: ...
    def active_job(self, name: str, stub: Any = None, /, **options: Any) -> Any:
        """Return a job class of Rails' Active Job on Sidekiq, to enqueue for; as `sidekiq`."""
        from turnout.sidekiq import RubyJob

        return RubyJob(self, name, stub, options, rails=True)

    def enqueue_many(self, prepared: Iterable[PreparedJob[Any]]) -> list[Job[Any]]:
        """Record many jobs, a thousand a transaction, reading `prepared` lazily.

        Each thousand is recorded whole or not at all; an error leaves the earlier ones recorded.
        The store records one while the next is read.
        """
        if connection_of(self) is not None:  # the caller's: nobody else may use it
            return [handle for chunk in self._chunks(prepared) for handle in self._record(chunk)]
        source = iter(prepared)
        first = list(islice(source, MAX_BATCH))
        if len(first) < MAX_BATCH:
            return self._record([_new(item) for item in first]) if first else []
        chunks = self._chunks(chain(first, source))
        batches = ((chunk, *self._shaped(chunk)) for chunk in chunks)
        handles: list[Job[Any]] = []
        for (jobs, shaped, _), ids in one_ahead(batches, self._enqueue_kept):
            handles += self._handles(jobs, shaped, ids)
        return handles

    def _enqueue_kept(self, batch: tuple[object, object, list[NewJob]]) -> list[JobId | None]:
        kept = batch[2]
        return self.store.enqueue(kept) if kept else []

    async def aenqueue_many(self, prepared: Iterable[PreparedJob[Any]]) -> list[Job[Any]]:
        """Record many jobs without blocking the event loop longer than it takes to prepare them."""
        handles: list[Job[Any]] = []
        for chunk in self._chunks(prepared):
            handles += await self._arecord(chunk)
        return handles

    @staticmethod
    def _chunks(prepared: Iterable[PreparedJob[Any]]) -> Iterator[list[NewJob]]:
        source = iter(prepared)
        while chunk := [_new(item) for item in islice(source, MAX_BATCH)]:
            yield chunk

    def within(self, connection: object) -> Within:
        """Enqueue in the caller's own transaction while the block lasts: `with` or `async with`.

        The jobs exist exactly when that transaction commits. An asynchronous connection or session
        takes `await task.aenqueue(...)` alone. Raises WithinError, at the enqueue, for a connection
        that the store cannot share.
        """
        return Within(self, connection)

    def job(self, job_id: str) -> Job[Any]:
        """Return a handle on a job by its id, without asking the store."""
        return Job(self, check_id(job_id), None)

    # ---- extensions

    def around_enqueue(self, layer: M) -> M:
        """Register `layer(job, proceed)`, which returns `proceed(job)` or, as a veto, None.

        It may hand on a changed copy of the job.
        """
        check_middleware(layer)
        self._enqueue_layers.append(layer)
        self._shape = compose(self._enqueue_layers, lambda job: job)
        return layer

    def around_run(self, layer: M) -> M:
        """Register `layer(current, proceed)` around each attempt.

        `def` layers wrap `def` tasks, `async def` layers wrap `async def` tasks.
        """
        check_middleware(layer)
        self.run_layers.append(layer)
        return layer

    def on(self, kind: type[Any]) -> Callable[[M], M]:
        """Register a listener for one kind of event; its errors are logged and never raised."""

        def register(listener: M) -> M:
            self.events.on(kind, listener)
            return listener

        return register

    def propagate(self, var: ContextVar[Any], name: str | None = None) -> None:
        """Let a context variable travel with each job; its value must be JSON."""
        self._context[name or var.name] = var

    def capture_context(self) -> str | None:
        """Return the registered variables that are set here, as JSON text."""
        if not self._context:
            return None
        values = {}
        for name, var in self._context.items():
            value = var.get(_UNSET)
            if value is not _UNSET:
                values[name] = value
        return encode_context(values) if values else None

    def restore_context(self, text: str) -> None:
        """Set the variables that travelled with a job, in the current context."""
        for name, value in decode_context(text).items():
            var = self._context.get(name)
            if var is not None:
                var.set(value)


_UNSET: Any = object()


def _checked_shape(job: NewJob | None) -> NewJob | None:
    if job is None or isinstance(job, NewJob):
        return job
    msg = f"an around_enqueue layer returns proceed(job) or None, got {job!r:.80}"
    raise EnqueueError(msg)


def _new(item: PreparedJob[Any]) -> NewJob:
    try:
        return item.new
    except AttributeError:
        msg = f"enqueue_many takes what task.prepare(...) returns, got {item!r:.80}"
        raise ArgumentError(msg) from None
