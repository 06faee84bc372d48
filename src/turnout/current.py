"""The running job, as its own code sees it: `current_job()`.

A `CurrentJob` lives as long as one attempt. Its flags are set from outside (by a heartbeat, by a
timeout) and only ever go from False to True.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from turnout.errors import JobError, JobNotFound
from turnout.failure import MAX_MESSAGE
from turnout.limits.carried import NAME

if TYPE_CHECKING:
    from datetime import timedelta

    from turnout.app import Turnout
    from turnout.calling import Call
    from turnout.job import JobId, LeasedJob, Outcome

MAX_NUMBER = 2**63  # what every reader of JSON can hold


class Host(Protocol):
    """What a running job needs of the process that runs it."""

    stopping: bool

    @property
    def app(self) -> Turnout:
        """The application whose job it is."""
        ...

    def note(self, job: LeasedJob, progress: str) -> bool:
        """Keep progress in the store; False when the lease was lost."""
        ...

    def settle_within(self, outcome: Outcome, connection: object) -> bool:
        """Settle in a transaction that is open; False when the lease was lost."""
        ...


class CurrentJob:
    """One attempt, seen from inside the task. Only `progress` writes to the store."""

    __slots__ = (
        "_connection",
        "_host",
        "arguments",
        "cancelled",
        "leased",
        "lost",
        "started_at",
        "timed_out",
        "timeout",
    )

    def __init__(
        self, leased: LeasedJob, host: Host, started_at: float, timeout: float | None
    ) -> None:
        self.leased = leased  # the job as the store handed it out
        self._host = host
        self.started_at = started_at
        self.timeout = timeout
        self.arguments: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
        self.cancelled = False  # somebody asked this job to stop
        self.lost = False  # the lease is gone: another worker may run it; stop
        self.timed_out = False
        self._connection: Any = None

    @property
    def id(self) -> JobId:
        """The job's id."""
        return self.leased.id

    @property
    def task(self) -> str:
        """The task's name."""
        return self.leased.task

    @property
    def queue(self) -> str:
        """The queue it came from."""
        return self.leased.queue

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self.leased.attempt + 1

    @property
    def idempotency_key(self) -> str:
        """A key that stays the same over all attempts: hand it to services that deduplicate."""
        return self.leased.id

    @property
    def deadline(self) -> float | None:
        """When this attempt times out, in seconds since the epoch; None without a `timeout`."""
        return None if self.timeout is None else self.started_at + self.timeout

    @property
    def stopping(self) -> bool:
        """True once the worker is shutting down: finish, or raise Retry or Snooze."""
        return self._host.stopping

    @property
    def connection(self) -> Any:
        """The open transaction of a transactional task: what is written here and the job's success
        commit together. Raises JobError in a task that is not transactional.
        """
        if self._connection is None:
            msg = (
                f"task {self.task} is not transactional: declare it @jobs.task(transactional=True)"
            )
            raise JobError(msg)
        return self._connection

    def enter(self, connection: Any) -> None:
        """Note the transaction that is open for this attempt; for the worker."""
        self._connection = connection

    def settle_within(self, outcome: Outcome, connection: object) -> bool:
        """Settle this job in a transaction that is open; for the worker."""
        return self._host.settle_within(outcome, connection)

    @property
    def context(self) -> dict[str, Any]:
        """The values that travelled with the job, by name."""
        text = self.leased.context
        found: dict[str, Any] = msgspec.json.decode(text) if text else {}
        found.pop(NAME, None)  # ours
        return found

    def dependency(self, name: str, *, wait: float | timedelta = 0.0, defer: bool = True) -> Call:
        """Return a block around a call to a dependency: `with` in a `def`, `async with` elsewhere.

        Its adaptive limit, breaker, retry budget and cooldown hold as for a task that declares it,
        and how the block ends counts for it. A block that finds no room within `wait` seconds
        raises Deferred: the job comes back within seconds, no attempt is counted, and what it did
        before is done again; with `defer=False` it raises LimitFull. Raises ConfigError for a name
        that is not declared where others are, and for one that this job is calling already.
        """
        from turnout.calling import Call

        return Call(self._host.app, self, name, wait, defer=defer)

    def progress(
        self, value: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Report how far this job is; anybody who asks for the job sees it.

        `value` out of `total` (or, without one, a share from 0 to 1). Each call is one small write.
        A `message` is cut at 2,000 characters. Raises JobError for what is not a finite number.
        """
        for name, given in (("value", value), ("total", total)):
            if not (given is None and name == "total"):
                _check_number(name, given)
        said = None if message is None else _storable(str(message)[:MAX_MESSAGE])
        body = {"value": value, "total": total, "message": said}
        if not self._host.note(self.leased, msgspec.json.encode(body).decode()):
            self.lost = True


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # lone surrogates are no text to a store


def _check_number(name: str, given: Any) -> None:
    number = isinstance(given, int | float) and not isinstance(given, bool)
    if not number or not abs(given) < MAX_NUMBER:
        msg = f"progress({name}=) takes a finite number, got {given!r:.80}"
        raise JobError(msg)


current: ContextVar[CurrentJob] = ContextVar("turnout_current_job")


def current_job() -> CurrentJob:
    """Return the job that runs here; raises JobNotFound outside a job."""
    try:
        return current.get()
    except LookupError:
        msg = "current_job() was called outside a job: a plain call of a task is not a job"
        raise JobNotFound(msg) from None
