"""What listeners can observe: one frozen class per event, and the registry that tells them.

Listening to a base class (`JobEvent`, `Event`) means all events below it. Invariant: a listener
never changes what happens; whatever it raises is logged and goes no further.
"""

from __future__ import annotations

import inspect
import logging
import signal
import threading
from collections.abc import Callable
from typing import Any, TypeVar, overload

import msgspec

from turnout.errors import ConfigError
from turnout.failure import qualified_name

__all__ = [
    "DependencyClosed",
    "DependencyOpened",
    "Event",
    "Events",
    "JobCancelled",
    "JobCrashed",
    "JobDead",
    "JobDiscarded",
    "JobEnqueued",
    "JobEvent",
    "JobRefused",
    "JobRetried",
    "JobShed",
    "JobSnoozed",
    "JobStarted",
    "JobSucceeded",
    "LeaseLost",
    "WorkerStarted",
    "WorkerStopped",
]

log = logging.getLogger("turnout.events")


class Event(msgspec.Struct, frozen=True):
    """Anything that can be observed."""


class JobEvent(Event, frozen=True):
    """Something about one job."""

    id: str
    task: str
    queue: str


class JobEnqueued(JobEvent, frozen=True):
    """The store has recorded the job, or will when the caller's transaction commits, or when it is
    back (see `on_unavailable`).
    """

    run_at: float | None = None  # None: now


class JobRefused(JobEvent, frozen=True):
    """A job that waited for the store was not taken when it came back: see `on_unavailable`."""

    reason: str


class JobShed(JobEvent, frozen=True):
    """A job was dropped at its enqueue: its queue is full, and its priority below the rule's."""

    reason: str


class JobStarted(JobEvent, frozen=True):
    """An attempt begins."""

    attempt: int  # from 1
    worker: str


class AttemptEvent(JobEvent, frozen=True):
    """An attempt has ended."""

    attempt: int
    worker: str
    seconds: float  # how long the attempt took


class JobSucceeded(AttemptEvent, frozen=True):
    """The task returned."""


class JobRetried(AttemptEvent, frozen=True):
    """The attempt failed and another will follow at `run_at`."""

    run_at: float
    error: BaseException | None = None


class JobSnoozed(AttemptEvent, frozen=True):
    """The task asked to be run again at `run_at`, and the attempt does not count."""

    run_at: float


class JobCrashed(AttemptEvent, frozen=True):
    """The job's own process died under it, not the worker's; the job runs again."""

    crashes: int


class JobDead(AttemptEvent, frozen=True):
    """The job gave up. `error` is None when its workers died under it."""

    error: BaseException | None = None
    reason: str | None = None


class JobDiscarded(AttemptEvent, frozen=True):
    """The job gave up on purpose: a rule, the task itself, or its deadline said so."""

    error: BaseException | None = None
    reason: str | None = None


class JobCancelled(AttemptEvent, frozen=True):
    """A person or program stopped the job."""

    error: BaseException | None = None
    reason: str | None = None


class LeaseLost(AttemptEvent, frozen=True):
    """The attempt ended after its lease was taken away: its outcome changes nothing."""


class WorkerStarted(Event, frozen=True):
    """A worker process is ready to run jobs."""

    worker: str
    queues: tuple[str, ...] = ()  # empty: all


class WorkerStopped(Event, frozen=True):
    """A worker process has ended its last job and let go of its leases."""

    worker: str
    seconds: float = 0.0  # how long it ran


class DependencyOpened(Event, frozen=True):
    """The breaker of a dependency opened: its jobs wait. Told once, by whoever shared it."""

    dependency: str
    until: float | None = None  # when a first call is let through again


class DependencyClosed(Event, frozen=True):
    """The breaker of a dependency closed: its jobs run again."""

    dependency: str


KINDS: tuple[type[Event], ...] = (
    JobEnqueued,
    JobRefused,
    JobShed,
    JobStarted,
    JobSucceeded,
    JobRetried,
    JobSnoozed,
    JobCrashed,
    JobDead,
    JobDiscarded,
    JobCancelled,
    LeaseLost,
    WorkerStarted,
    WorkerStopped,
    DependencyOpened,
    DependencyClosed,
)

E = TypeVar("E", bound=Event)
Listener = Callable[[E], object]


class Events:
    """The listeners of one application. Any thread may add, remove and emit."""

    __slots__ = ("_listeners", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Tuples are replaced, never changed: emit reads them without the lock.
        self._listeners: dict[type[Event], tuple[Listener[Any], ...]] = {}

    @overload
    def on(self, kind: type[E], listener: Listener[E]) -> Listener[E]: ...

    @overload
    def on(self, kind: type[E]) -> Callable[[Listener[E]], Listener[E]]: ...

    def on(self, kind: type[E], listener: Listener[E] | None = None) -> Any:
        """Call `listener(event)` for every event of `kind`; without one, return a decorator.

        Listeners run where the event happens, in the order added, so they should be quick. Raises
        ConfigError for a class that is no event and for what cannot be called.
        """
        kinds = _kinds_of(kind)
        if listener is None:
            return lambda given: self.on(kind, given)
        _check_listener(listener)
        with self._lock:
            for one in kinds:
                self._listeners[one] = (*self._listeners.get(one, ()), listener)
        return listener

    def off(self, kind: type[E], listener: Listener[E]) -> None:
        """Stop calling `listener` for events of `kind`; do nothing when it was not called."""
        with self._lock:
            for one in _kinds_of(kind):
                left = tuple(each for each in self._listeners.get(one, ()) if each != listener)
                if left:
                    self._listeners[one] = left
                else:
                    self._listeners.pop(one, None)

    def wants(self, kind: type[Event]) -> bool:
        """Tell whether anybody listens, so that nobody builds an event for no one."""
        return kind in self._listeners

    def emit(self, event: Event) -> None:
        """Tell every listener of this event's class; never raises."""
        for listener in self._listeners.get(type(event), ()):
            try:
                listener(event)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt) and _is_from_a_person():
                    raise
                log.exception("listener %s failed on %s", _called(listener), type(event).__name__)


def _is_from_a_person() -> bool:
    """Tell Ctrl-C, which only ever reaches the main thread, from a listener's own raising."""
    handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return handled and threading.current_thread() is threading.main_thread()


def _kinds_of(kind: Any) -> tuple[type[Event], ...]:
    kinds = tuple(one for one in KINDS if isinstance(kind, type) and issubclass(one, kind))
    if not kinds or kind is object:
        known = ", ".join(one.__name__ for one in KINDS)
        msg = f"on() takes an event class ({known}), got {kind!r}"
        raise ConfigError(msg)
    return kinds


def _check_listener(listener: Any) -> None:
    if not callable(listener):
        msg = f"a listener is a function of the event, got {listener!r}"
        raise ConfigError(msg)
    if inspect.iscoroutinefunction(listener):
        msg = (
            f"listener {_called(listener)} is async, but events are told synchronously: make it a "
            "plain function, or enqueue a job from it"
        )
        raise ConfigError(msg)


def _called(listener: Any) -> str:
    name = getattr(listener, "__qualname__", None)
    return name if isinstance(name, str) else qualified_name(type(listener))
