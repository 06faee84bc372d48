"""Jobs for Ruby: `jobs.sidekiq("HardJob").enqueue(1, "x")` and `jobs.active_job(...)`.

The Redis store keeps jobs where Sidekiq does, so a job for Ruby is a payload that Sidekiq's own
client might have written. It belongs to Ruby from then on: its end is not known here. Give a stub,
a function with the signature of the Ruby method, and calls are checked by it, by your type checker
and here.
"""

from __future__ import annotations

import inspect
import secrets
import uuid
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypedDict

from turnout.activejob import WRAPPERS, moment, write_arguments
from turnout.codec import Signature, encode_value
from turnout.errors import CENTURY, ArgumentError, ConfigError, PayloadTooLarge, as_seconds
from turnout.handle import in_thread
from turnout.job import JobId, NewJob
from turnout.store.protocol import MAX_BATCH, SpeaksSidekiq
from turnout.task import check_name, timestamp
from turnout.within import connection_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Unpack

    from turnout.app import Turnout
    from turnout.handle import Job

__all__ = ["RubyJob", "SidekiqOptions"]

P = ParamSpec("P")


class SidekiqOptions(TypedDict, total=False):
    """What an enqueue for Ruby may say; durations in seconds. The words are Sidekiq's."""

    queue: str  # "default"
    delay: float | timedelta
    run_at: datetime
    retry: bool | int | None  # True; None: as the Ruby class says
    retry_for: float | timedelta
    retry_queue: str
    dead: bool
    backtrace: bool | int
    tags: Sequence[str]


_KNOWN = tuple(SidekiqOptions.__annotations__)


class RubyJob(Generic[P]):
    """A job class that lives in Ruby; what `Turnout.sidekiq` and `Turnout.active_job` return."""

    def __init__(
        self,
        app: Turnout,
        name: str,
        stub: Callable[P, object] | None,
        options: Mapping[str, Any],
        *,
        rails: bool = False,
    ) -> None:
        self._app = app
        self._rails = rails
        self._stub = stub
        self.name = check_name(name)
        self._signature = Signature(stub or _anything, name)
        self._shape = inspect.signature(stub or (_anything_named if rails else _anything))
        self._options = options
        _check(app, options)

    def __repr__(self) -> str:
        return f"<RubyJob {self.name}>"

    def using(self, **options: Unpack[SidekiqOptions]) -> RubyJob[P]:
        """Return this job class with other options for the calls that follow. Raises ConfigError.

        `queue`; `delay` in seconds or `run_at` as an aware datetime; `retry` True, False, a number
        or None for what the Ruby class says; `retry_for` in seconds, `retry_queue`, `dead`,
        `backtrace` and `tags` as Sidekiq has them.
        """
        kept = dict(self._options)
        if "delay" in options or "run_at" in options:
            kept.pop("delay", None)
            kept.pop("run_at", None)
        merged = {**kept, **options}
        return RubyJob(self._app, self.name, self._stub, merged, rails=self._rails)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[Any]:
        """Record a job for Ruby; returns once the server has it.

        Raises ArgumentError, here and now, for arguments that are not JSON's own types (for Rails:
        that Active Job cannot read), PayloadTooLarge, and StoreError when the store cannot take it.
        """
        return self._record([self._build(args, kwargs)])[0]

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[Any]:
        """Record a job for Ruby without blocking the event loop."""
        return (await in_thread(self._record, [self._build(args, kwargs)]))[0]

    def enqueue_many(self, calls: Iterable[Sequence[Any]]) -> list[Job[Any]]:
        """Record many jobs, each given as its list or tuple of arguments, a thousand at a time."""
        source = iter(calls)
        handles: list[Job[Any]] = []
        while chunk := [self._build(_as_call(call), {}) for call in islice(source, MAX_BATCH)]:
            handles += self._record(chunk)
        return handles

    # ---- making one

    def _build(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NewJob:
        options = self._options
        queue = options.get("queue", "default")
        run_at = self._run_at()
        text = self._rails_text(args, kwargs, run_at) if self._rails else self._text(args, kwargs)
        most = self._app.config.max_payload
        if len(text) > most:
            msg = (
                f"cannot enqueue {self.name}: its arguments take {len(text):,} bytes as JSON, over "
                f"the limit of {most:,} (max_payload): keep large data elsewhere and pass its id"
            )
            raise PayloadTooLarge(msg)
        jid = JobId(secrets.token_hex(12))
        return NewJob(id=jid, task=self.name, queue=queue, args=text, run_at=run_at)

    def _run_at(self) -> float | None:
        options = self._options
        if "delay" in options:
            return self._app.clock() + as_seconds(options["delay"], "delay=")
        return timestamp(options["run_at"], "run_at=") if "run_at" in options else None

    def _bound(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        try:
            bound = self._shape.bind(*args, **kwargs)
        except TypeError as error:
            msg = f"cannot enqueue {self.name}: {error} (signature: {self.name}{self._shape})"
            raise ArgumentError(msg) from error
        return bound.args, bound.kwargs

    def _text(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return the arguments as a JSON array; the signature has checked each of them."""
        given, named = self._bound(args, kwargs)
        if named:
            msg = (
                f"cannot enqueue {self.name}: Sidekiq passes arguments by position alone, and "
                f"{', '.join(named)} can only be given by keyword"
            )
            raise ArgumentError(msg)
        self._signature.encode(args, kwargs, self._app.config.max_payload)
        return encode_value([*given])

    def _rails_text(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], run_at: float | None
    ) -> str:
        given, named = self._bound(args, kwargs)
        try:
            arguments = write_arguments(given, named)
        except ArgumentError as error:
            msg = f"cannot enqueue {self.name}: {error}"
            raise ArgumentError(msg) from error
        job: dict[str, Any] = {
            "job_class": self.name,
            "job_id": str(uuid.uuid4()),
            "provider_job_id": None,
            "queue_name": self._options.get("queue", "default"),
            "priority": None,
            "arguments": arguments,
            "executions": 0,
            "exception_executions": {},
            "locale": None,  # the Rails application's own, as for the zone
            "timezone": None,
            "enqueued_at": moment(datetime.fromtimestamp(self._app.clock(), UTC)),
            "scheduled_at": run_at and moment(datetime.fromtimestamp(run_at, UTC)),
        }
        return encode_value([job])

    # ---- recording it

    def _members(self) -> dict[str, Any]:
        """Return the payload's members that the options stand for."""
        options = self._options
        members: dict[str, Any] = {"retry": options.get("retry", True)}
        if members["retry"] is None:
            del members["retry"]
        for name in ("retry_queue", "dead", "backtrace"):
            if name in options:
                members[name] = options[name]
        if "retry_for" in options:
            members["retry_for"] = as_seconds(options["retry_for"], "retry_for=")
        if "tags" in options:
            members["tags"] = [*options["tags"]]
        if self._rails:
            members |= {"class": WRAPPERS[0], "wrapped": self.name}
        return members

    def _record(self, jobs: list[NewJob]) -> list[Job[Any]]:
        store, members = self._app.store, self._members()
        if not isinstance(store, SpeaksSidekiq):
            msg = (
                f"{self.name} runs in Ruby, and its jobs live where Sidekiq looks, in Redis; here "
                f"the store is {self._app.config.location}: give it a redis:// URL, or keep a "
                "second Turnout for Ruby's jobs"
            )
            raise ConfigError(msg)
        within = connection_of(self._app)
        return self._app.recorder.record_by(
            lambda kept: store.push([(job, members) for job in kept], within=within),
            jobs,
            within=True,  # nor may they wait in a file, from which they would come as ours
        )


def _anything(*arguments: Any) -> None:
    """Take what Sidekiq passes: any number of values, by position."""


def _anything_named(*arguments: Any, **keywords: Any) -> None:
    """Take what Active Job passes."""


def _as_call(call: Sequence[Any]) -> tuple[Any, ...]:
    if isinstance(call, list | tuple):
        return tuple(call)
    msg = f"enqueue_many takes a list or tuple of arguments for each job, got {call!r:.80}"
    raise ArgumentError(msg)


def _check(app: Turnout, options: Mapping[str, Any]) -> None:
    """Raise ConfigError for an option that is unknown or out of range."""
    for name in options:
        if name not in _KNOWN:
            msg = f"a job for Ruby has no option {name}=; known: {', '.join(_KNOWN)}"
            raise ConfigError(msg)
    if "delay" in options and "run_at" in options:
        msg = "delay= and run_at= say the same thing twice: give one of them"
        raise ConfigError(msg)
    for name in ("queue", "retry_queue"):
        if name in options:
            app.check_queue(options[name])
    for name in ("delay", "retry_for"):
        if name in options:
            as_seconds(options[name], f"{name}=", CENTURY)
    if "run_at" in options:
        timestamp(options["run_at"], "run_at=")
    _check_count("retry", options.get("retry"))
    _check_count("backtrace", options.get("backtrace"))
    tags = options.get("tags", ())
    if isinstance(tags, str) or not all(isinstance(tag, str) for tag in tags):
        msg = f"tags= takes a list of texts, got {tags!r:.80}"
        raise ConfigError(msg)
    if not isinstance(options.get("dead", True), bool):
        msg = f"dead= takes True or False, got {options['dead']!r:.80}"
        raise ConfigError(msg)


def _check_count(name: str, value: object) -> None:
    if value is None or (isinstance(value, int) and value >= 0):
        return
    msg = f"{name}= takes True, False or a whole number from 0, got {value!r:.80}"
    raise ConfigError(msg)
