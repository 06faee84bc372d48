"""`Task`: a function that can be called later, with its signature kept.

A task is made by `@jobs.task`. Calling it stays a plain call; `enqueue`, `aenqueue` and `prepare`
take the same arguments and are checked by the same signature.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar

import msgspec

from turnout.codec import Signature
from turnout.config import check_queue_name
from turnout.crash import OnCrash
from turnout.errors import CENTURY, ConfigError, as_seconds
from turnout.failure import clean
from turnout.handle import Job
from turnout.ids import new_id
from turnout.isolation import Isolate
from turnout.job import NewJob, Unique
from turnout.lanes import LaneRule, check_lane, lane_queue
from turnout.limits.carried import Carries
from turnout.limits.shapes import Limit

if TYPE_CHECKING:
    from turnout.app import Turnout
    from turnout.retry import Policy

P = ParamSpec("P")
R = TypeVar("R")  # what the job results in
C = TypeVar("C")  # what a plain call returns: R, or for `async def` a coroutine of it
When = float | timedelta | datetime
PRIORITIES = range(-100, 101)


class TaskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a task says of its jobs; durations in seconds."""

    queue: str
    priority: int
    policy: Policy
    timeout: float | None
    expires: float | None
    keep: float | None
    unique: bool | Callable[..., str]
    unique_until: Literal["start", "finish", "time"]
    unique_for: float | None
    transactional: bool | Callable[[], AbstractContextManager[Any]] = False
    isolate: Isolate | None = None
    on_crash: OnCrash = "rerun"
    limits: tuple[Limit, ...] = ()
    dependency: str | None = None
    lane: str | Callable[..., Any] | None = None
    queue_given: bool = False  # not the application's default


class CallOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What one call overrides; None leaves the task's own."""

    delay: float | timedelta | None = None
    run_at: datetime | None = None
    priority: int | None = None
    queue: str | None = None
    lane: str | None = None
    expires: When | None = None
    unique: str | None = None
    within: object = None


class PreparedJob(Generic[R]):
    """A job that is checked and encoded but not recorded yet; for `enqueue_many`."""

    __slots__ = ("new",)

    def __init__(self, new: NewJob) -> None:
        self.new = new


class Task(Generic[P, R, C]):
    """A registered function and its options."""

    def __init__(self, app: Turnout, fn: Callable[P, C], name: str, options: TaskOptions) -> None:
        self.app = app
        self.fn = fn
        self.name = name
        self.options = options
        self.is_async = inspect.iscoroutinefunction(fn)
        self.signature = Signature(fn, name)
        self._carries: Carries | None = None
        if options.limits or options.dependency is not None:
            self._carries = Carries(fn, options.limits, options.dependency)
        self._lane = None if options.lane is None else LaneRule(fn, options.lane)
        self.__doc__ = fn.__doc__
        self.__name__ = getattr(fn, "__name__", name)
        self.__wrapped__ = fn

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> C:
        """Call the function here and now: no job, no store, no retry."""
        return self.fn(*args, **kwargs)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Record a job of this task; returns once the store has it.

        Raises ArgumentError or PayloadTooLarge for arguments that cannot travel, StoreError when
        the store cannot take it. In either case nothing was recorded.
        """
        return self.app.record(self.build(args, kwargs, _AS_IS))

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Record a job of this task without blocking the event loop."""
        return await self.app.arecord(self.build(args, kwargs, _AS_IS))

    def prepare(self, *args: P.args, **kwargs: P.kwargs) -> PreparedJob[R]:
        """Check and encode a job for `enqueue_many`, recording nothing."""
        return PreparedJob(self.build(args, kwargs, _AS_IS))

    def using(
        self,
        *,
        delay: float | timedelta | None = None,
        run_at: datetime | None = None,
        priority: int | None = None,
        queue: str | None = None,
        lane: str | None = None,
        expires: When | None = None,
        unique: str | None = None,
        within: object = None,
    ) -> BoundTask[P, R]:
        """Return this task with other options for the calls that follow.

        `delay` in seconds or `run_at` as an aware datetime; `priority` from -100 to 100, larger
        sooner; `lane` is whose turn it takes among the lanes of its queue, such as a tenant's name;
        `expires` is the latest start, in seconds from now or as an aware datetime; `unique`
        is a key that at most one such job may hold; `within` is the caller's own connection or
        session. Raises ConfigError.
        """
        options = CallOptions(
            delay=delay,
            run_at=run_at,
            priority=priority,
            queue=queue,
            lane=lane,
            expires=expires,
            unique=unique,
            within=within,
        )
        self.check(options)
        return BoundTask(self, options)

    def check(self, options: CallOptions) -> None:
        """Raise ConfigError when an override is out of range."""
        if options.delay is not None and options.run_at is not None:
            msg = "delay= and run_at= say the same thing twice: give one of them"
            raise ConfigError(msg)
        if options.delay is not None:
            as_seconds(options.delay, "delay=", CENTURY)
        if options.run_at is not None:
            timestamp(options.run_at, "run_at=")
        if options.priority is not None:
            check_priority(options.priority)
        if options.queue is not None:
            self.app.check_queue(options.queue)
        if options.lane is not None:
            check_lane(options.lane)
        if options.expires is not None:
            self._moment(options.expires, "expires=")
        if options.unique is not None:
            check_key(options.unique)

    def build(self, args: tuple[Any, ...], kwargs: dict[str, Any], call: CallOptions) -> NewJob:
        """Check the arguments and return the job that a store would record."""
        options, app = self.options, self.app
        text = self.signature.encode(args, kwargs, app.config.max_payload)
        if call is _AS_IS and options.expires is None and options.unique is False:
            return NewJob(
                id=new_id(),
                task=self.name,
                queue=self._queue(call, args, kwargs) if self._lane else options.queue,
                args=text,
                priority=options.priority,
                context=self._context(args, kwargs) if self._carries else app.capture_context(),
            )
        expires = options.expires if call.expires is None else call.expires
        return NewJob(
            id=new_id(),
            task=self.name,
            queue=self._queue(call, args, kwargs),
            args=text,
            priority=options.priority if call.priority is None else call.priority,
            run_at=self._run_at(call),
            expires_at=None if expires is None else self._moment(expires, "expires="),
            unique=self._unique(call.unique, args, kwargs),
            context=self._context(args, kwargs),
        )

    def _queue(self, call: CallOptions, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        queue = self.options.queue if call.queue is None else call.queue
        if call.lane is not None:
            return lane_queue(queue, call.lane)
        return queue if self._lane is None else self._lane.queue(queue, args, kwargs)

    def _context(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        context = self.app.capture_context()
        return context if self._carries is None else self._carries.into(context, args, kwargs)

    def _run_at(self, call: CallOptions) -> float | None:
        if call.delay is not None:
            return self.app.clock() + as_seconds(call.delay, "delay=")
        return None if call.run_at is None else timestamp(call.run_at, "run_at=")

    def _moment(self, when: When, name: str) -> float:
        if isinstance(when, datetime):
            return timestamp(when, name)
        return self.app.clock() + as_seconds(when, name, CENTURY)

    def _unique(
        self, given: str | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Unique | None:
        options = self.options
        if given is not None:
            key = given
        elif options.unique is True:
            key = self.signature.encode_key(args, kwargs)
        elif callable(options.unique):
            key = check_key(options.unique(*args, **kwargs))
        else:
            return None
        return Unique(f"{self.name}:{key}", options.unique_until, options.unique_for)


class BoundTask(Generic[P, R]):
    """A task with overrides for its next calls; made by `Task.using`."""

    __slots__ = ("_options", "_task")

    def __init__(self, task: Task[P, R, Any], options: CallOptions) -> None:
        self._task = task
        self._options = options

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Record a job, as `Task.enqueue` does."""
        new = self._task.build(args, kwargs, self._options)
        return self._task.app.record(new, within=self._options.within)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Record a job without blocking the event loop."""
        new = self._task.build(args, kwargs, self._options)
        return await self._task.app.arecord(new, within=self._options.within)

    def prepare(self, *args: P.args, **kwargs: P.kwargs) -> PreparedJob[R]:
        """Check and encode a job for `enqueue_many`. Raises ConfigError after `using(within=)`."""
        if self._options.within is not None:
            msg = (
                "within= does not travel with a prepared job: write `with jobs.within(connection): "
                "jobs.enqueue_many(...)`"
            )
            raise ConfigError(msg)
        return PreparedJob(self._task.build(args, kwargs, self._options))


_AS_IS = CallOptions()


def timestamp(moment: datetime, name: str) -> float:
    """Return an aware datetime as seconds since the epoch; refuse naive ones."""
    if not isinstance(moment, datetime):
        msg = f"{name} takes an aware datetime, got {moment!r}"
        raise ConfigError(msg)
    if moment.utcoffset() is None:
        msg = (
            f"{name} got the naive datetime {moment.isoformat()}: say which zone it means, such as "
            "datetime.now(timezone.utc) or moment.replace(tzinfo=ZoneInfo('Europe/Paris'))"
        )
        raise ConfigError(msg)
    return moment.timestamp()


def check_priority(priority: int) -> int:
    """Return the priority; raise ConfigError unless it is a whole number from -100 to 100."""
    if isinstance(priority, bool) or not isinstance(priority, int) or priority not in PRIORITIES:
        msg = f"priority takes a whole number from -100 to 100 (larger sooner), got {priority!r}"
        raise ConfigError(msg)
    return priority


def check_key(key: str) -> str:
    """Return a unique key; raise ConfigError unless it is 1 to 500 characters without NUL."""
    return _check_text(key, "a unique key", 500)


def check_name(name: str) -> str:
    """Return a task's name; raise ConfigError unless it is 1 to 200 characters without NUL."""
    return _check_text(name, "a task's name=", 200)


def _check_text(text: str, what: str, most: int) -> str:
    if isinstance(text, str) and 1 <= len(text) <= most and clean(text) == text:
        return text
    msg = f"{what} is text of 1 to {most} characters, UTF-8 and without NUL, got {text!r:.80}"
    raise ConfigError(msg)


def check_known_queue(name: str, known: tuple[str, ...] | None) -> str:
    """Return a queue's name; raise ConfigError when it is malformed or not in the strict list."""
    check_queue_name(name)
    if known is not None and name not in known:
        msg = f"queue {name!r} is not one of this application's queues: {', '.join(known)}"
        raise ConfigError(msg)
    return name
