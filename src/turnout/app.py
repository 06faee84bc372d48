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
from typing import TYPE_CHECKING, Any, TypeVar, overload

from turnout.config import load
from turnout.context import decode_context, encode_context
from turnout.decorator import TaskMaker, Transactional, Until, check_option_names
from turnout.errors import ConfigError, UnknownTask
from turnout.events import Events
from turnout.handle import Job
from turnout.ids import check_id
from turnout.job import NewJob
from turnout.limits.dependency import Dependency
from turnout.limits.shapes import check_across
from turnout.middleware import check_middleware
from turnout.pressure import Pressure
from turnout.recording import Recorder, chunked
from turnout.retry import DEFAULT_ATTEMPTS
from turnout.store import open_store
from turnout.task import Task, check_known_queue
from turnout.within import Within

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence
    from datetime import timedelta
    from typing import Unpack

    from turnout.backoff import WaitLike
    from turnout.ceiling import Queue
    from turnout.crash import OnCrash
    from turnout.deploys import Deploys
    from turnout.holding import Holding
    from turnout.isolation import Isolate
    from turnout.limits.shapes import Limit
    from turnout.pressure import Backlog
    from turnout.replays import Replays
    from turnout.retry import Rule
    from turnout.shared import Watched
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
        `dead_age` in seconds, `dead_count`. `on_unavailable="buffer"` keeps up to `buffer_size`
        jobs in the process while the store is away, and in the folder `buffer_path` if given.
        `outbox`, the URL of a SQL database, lets `within` work where the store has no transactions.
        `secret`, text of 32 characters or more (or a list, of which the first signs), is for status
        tokens; without it, TURNOUT_SECRET counts.
        Raises ConfigError with every fault at once.
        """
        self.config = load(url, environ=os.environ, **settings)
        self.tasks: dict[str, Task[Any, Any, Any]] = {}
        self.events = Events()
        self.clock: Callable[[], float] = time.time
        self.run_layers: list[Callable[..., Any]] = []
        self.pressure = Pressure(self)
        self.recorder = Recorder(self)
        self._context: dict[str, ContextVar[Any]] = {}
        self._watched: dict[str, Watched] = {}
        self._declared: list[str] = []
        self._store: Store | None = None
        self._outbox: Store | None = None
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

    @property
    def outbox(self) -> Store:
        """The store that records what is enqueued within a transaction, before it is relayed."""
        if self._outbox is None:
            if self.config.outbox is None:
                msg = "this application has no outbox: give Turnout(...) outbox= and a URL"
                raise ConfigError(msg)
            self._outbox = open_store(self.config.outbox)
        return self._outbox

    @property
    def replays(self) -> Replays:
        """The replays of dead jobs: begin, count, list and stop them."""
        from turnout.replays import Replays

        return Replays(self.store, self.clock, self.tasks)

    @property
    def deploys(self) -> Deploys:
        """The marks of what was deployed, which the charts show: make one, list them."""
        from turnout.deploys import Deploys

        return Deploys(self.store, self.clock)

    def close(self) -> None:
        """Let go of the store's connections; the next use opens them again.

        Jobs that wait for the store are tried once more, for two seconds at most.
        """
        self.recorder.close()
        for store in (self._store, self._outbox):
            if store is not None:
                store.close()

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
        limit: Limit | Sequence[Limit] = (),
        dependency: str | None = None,
        lane: str | Callable[..., Any] | None = None,
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
        dies: rerun (at most twice), dead or discard. `limit` is `concurrency(...)`, `rate(...)` or
        several of them, checked before a worker's slot is taken; `dependency` names the service
        that it calls. `lane` names the argument, or returns from all of them, whose jobs take
        turns with those of others, such as a tenant. Raises ConfigError at decoration.
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
        others = [one for name, one in self.tasks.items() if name != task.name]
        check_across(task.options.limits, [limit for one in others for limit in one.options.limits])
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
        """Record one job that `Task.build` made for this very call."""
        return self.recorder.record(new, within)

    async def arecord(self, new: NewJob, *, within: object = None) -> Job[Any]:
        """Record one job from a coroutine; a caller's connection is used where it lives, here."""
        return (await self.recorder.arecord([new], within))[0]

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
        return self.recorder.record_many(chunked(prepared))

    async def aenqueue_many(self, prepared: Iterable[PreparedJob[Any]]) -> list[Job[Any]]:
        """Record many jobs without blocking the event loop longer than it takes to prepare them."""
        handles: list[Job[Any]] = []
        for chunk in chunked(prepared):
            handles += await self.recorder.arecord(chunk)
        return handles

    def within(self, connection: object) -> Within:
        """Enqueue in the caller's own transaction while the block lasts: `with` or `async with`.

        The jobs exist exactly when that transaction commits. An asynchronous connection or session
        takes `await task.aenqueue(...)` alone. Raises WithinError, at the enqueue, for a connection
        that the store cannot share.
        """
        return Within(self, connection)

    def limit(self, limit: Limit | str) -> Holding:
        """Return a limit to acquire by hand: the limit itself, or the key that a task declares."""
        from turnout.holding import Holding, named

        return Holding(self, named(self, limit) if isinstance(limit, str) else limit)

    def dependency(self, name: str, **parts: Any) -> Watched:
        """Return a dependency by name; with `parts`, declare how it is watched over.

        Parts are those of `limits.Dependency`: `adaptive`, `breaker`, `budget`, `cooldown`. Once
        one is declared, a name that none has is refused. Raises ConfigError.
        """
        from turnout.shared import Watched

        declared = self._declared
        if parts and name in self._watched:
            msg = f"dependency {name!r} is declared, or used by a task, already: declare it first"
            raise ConfigError(msg)
        if not parts and declared and name not in declared:
            msg = f"no dependency is declared as {name!r}; declared are: {', '.join(declared)}"
            raise ConfigError(msg)
        if name not in self._watched:
            self._watched.setdefault(name, Watched(self, Dependency(key=name, **parts)))
            declared += [name] * bool(parts)
        return self._watched[name]

    def dependencies(self) -> list[Watched]:
        """Return all that are declared or that tasks name, by name."""
        return [self._watched[name] for name in sorted(self._watched)]

    def watched(self, name: str) -> Watched:
        """Return the dependency that a job names, declared here or not; for workers."""
        if name not in self._watched:
            from turnout.shared import Watched

            self._watched.setdefault(name, Watched(self, Dependency(key=name)))
        return self._watched[name]

    def queue(self, name: str, **options: Any) -> Queue:
        """Declare a queue's ceilings and target, options of `ceiling.Queue`. Raises ConfigError."""
        return self.pressure.declare(self.check_queue(name), options)

    def backlog(self, queue: str) -> Backlog:
        """Return what waits in a queue, at most 0.25 s old. Raises StoreError."""
        return self.pressure.look(self.check_queue(queue))

    def stress(self, healthy: M) -> M:
        """Register what says, once a second in each worker, that the database is under stress.

        While it returns something true, workers take less from queues without a `target`.
        """
        self.pressure.stress = healthy
        return healthy

    def job(self, job_id: str) -> Job[Any]:
        """Return a handle on a job by its id, without asking the store."""
        return Job(self, check_id(job_id), None)

    # ---- extensions

    def around_enqueue(self, layer: M) -> M:
        """Register `layer(job, proceed)`, which returns `proceed(job)` or, as a veto, None.

        It may hand on a changed copy of the job.
        """
        self.recorder.add_layer(layer)
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
