"""Every exception that Turnout raises, in one tree.

TurnoutError
├── ConfigError            a setting, option or URL is wrong
│   └── UnknownTask        a name that no registered task answers to
├── EnqueueError           a job was refused at enqueue; nothing was recorded
│   ├── ArgumentError      an argument does not fit the task's signature or JSON
│   ├── PayloadTooLarge    the encoded arguments exceed the limit
│   ├── QueueFull          its queue is at its ceiling
│   └── WithinError        the caller's connection cannot carry the job
├── StoreError             the store refused or failed
│   ├── StoreUnavailable   it cannot be reached, opened, read or written
│   ├── StoreBusy          it stayed locked for longer than the patience
│   │   └── StoreSlow      it worked for longer than its reader waits, and was told to stop
│   └── SchemaError        it holds something else, or a newer Turnout's schema
├── LimitFull              `acquire` waited for a limit in vain
├── JobError               about one job
│   ├── JobNotFound        no trace of it is left
│   ├── IsolatedError      what a task raised in its child process, as its worker sees it
│   ├── JobFailed          `wait` or `result` met a job that ended without success
│   └── JobTimeout         an attempt ran for longer than its task's `timeout`
└── ControlFlow            raised *by* tasks to say what should happen next
    ├── Retry              try again, counting this attempt
    ├── Snooze             try again, not counting it
    ├── Discard            give up on purpose
    ├── Cancel             stop: a person or program no longer wants it
    └── Deferred           a dependency takes no call now: come back later, not counting it
"""

from __future__ import annotations

from datetime import timedelta


class TurnoutError(Exception):
    """The root of everything that Turnout raises on its own account."""


class ConfigError(TurnoutError):
    """A setting, an option or a URL is wrong; the message lists every fault found."""


class UnknownTask(ConfigError):
    """No task of this name is registered here."""


class EnqueueError(TurnoutError):
    """The job was refused and nothing was recorded."""


class ArgumentError(EnqueueError, TypeError):
    """An argument does not fit the task's signature, its annotations, or JSON."""


class PayloadTooLarge(EnqueueError, ValueError):
    """The encoded arguments are larger than `max_payload` bytes."""


class QueueFull(EnqueueError):
    """The queue is at its ceiling: `limit` jobs, or seconds that its oldest job has waited.

    `depth` jobs wait. `drain_seconds` is how long those take at the rate seen lately; None where
    nothing has moved.
    """

    def __init__(
        self, queue: str, why: str, depth: int, limit: float, drain_seconds: float | None
    ) -> None:
        lasts = "nothing was finished lately"
        if drain_seconds is not None:
            lasts = f"they take about {max(1.0, drain_seconds):,.0f} s at this rate"
        super().__init__(f"queue {queue} is full: {why}; {lasts}")
        self.queue = queue
        self.depth = depth
        self.limit = limit
        self.drain_seconds = drain_seconds


class WithinError(EnqueueError):
    """The caller's connection cannot carry the job in its transaction."""


class StoreError(TurnoutError):
    """The store refused or failed."""


class StoreUnavailable(StoreError):
    """The store cannot be reached, opened, read or written."""


class StoreBusy(StoreError):
    """The store stayed locked by others for longer than we are willing to wait."""


class StoreSlow(StoreBusy):
    """The store worked on a question for longer than whoever asked would wait; it was stopped."""


class SchemaError(StoreError):
    """The store holds something that is not ours, or a newer Turnout's schema."""


class LimitFull(TurnoutError, TimeoutError):
    """A limit stayed full for longer than `acquire` was to wait."""


class JobError(TurnoutError):
    """Something about one job."""


class JobNotFound(JobError):
    """No trace of this job is left: the id is wrong, or its record has been pruned."""


class IsolatedError(JobError):
    """What a task raised in its child process, for those who listen in the worker: its message.

    `name` is the exception's own class, in words; the exception itself stays where it was raised.
    """

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class JobFailed(JobError):
    """The job ended, but not in success; `record` tells the whole story."""

    def __init__(self, message: str, record: object = None) -> None:
        super().__init__(message)
        self.record = record


class JobTimeout(JobError, TimeoutError):
    """An attempt ran for longer than its task's `timeout`, or `wait` ran out of time."""


class ControlFlow(TurnoutError):
    """Raised by a task to say what should happen to its job; never a failure of its own."""


CENTURY = 100 * 365 * 86_400.0


def as_seconds(value: float | timedelta, name: str, most: float = float("inf")) -> float:
    """Return a duration in seconds; ConfigError for one that is negative, not finite, not a number
    or above `most`.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{name} takes seconds or a timedelta, got {value!r}"
        raise ConfigError(msg)
    if not 0 <= value < float("inf"):
        msg = f"{name} must be zero or more and finite, got {value!r}"
        raise ConfigError(msg)
    if value > most:
        msg = f"{name} is at most {most:,.0f} seconds (100 years), got {value!r}"
        raise ConfigError(msg)
    return float(value)


class Retry(ControlFlow):
    """Try this job again, counting the attempt; `after` in seconds, or by the default policy."""

    def __init__(self, reason: str = "", *, after: float | timedelta | None = None) -> None:
        super().__init__(reason)
        self.after = None if after is None else as_seconds(after, "Retry(after=)")


class Snooze(ControlFlow):
    """Try this job again `after` so many seconds, without counting the attempt."""

    def __init__(self, reason: str = "", *, after: float | timedelta) -> None:
        super().__init__(reason)
        self.after = as_seconds(after, "Snooze(after=)")


class Discard(ControlFlow):
    """Give this job up on purpose; nobody needs to look at it."""


class Cancel(ControlFlow):
    """Stop this job: a person or a program no longer wants it."""


class Deferred(ControlFlow):
    """A dependency takes no call now: its job comes back at `until`, and no attempt is counted.

    Raised by `current_job().dependency(...)`; clean up if you must, and let it pass.
    """

    def __init__(self, message: str, dependency: str, until: float) -> None:
        super().__init__(message)
        self.dependency = dependency
        self.until = until
