"""`Job`: a handle on one enqueued job, cheap to make and to keep.

It holds the id and the way to the store, and no state: every answer is read when asked.
"""

from __future__ import annotations

import time
from math import ceil
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from turnout.codec import decode_value
from turnout.errors import (
    CENTURY,
    ConfigError,
    JobFailed,
    JobNotFound,
    JobTimeout,
    as_seconds,
)
from turnout.ids import check_id
from turnout.job import JobFilter, JobId, JobRecord, State

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from turnout.app import Turnout

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
_POLL_FIRST, _POLL_MOST = 0.005, 0.2


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking call in a thread, with the caller's context."""
    # Imported here: asyncio takes a third of the time that importing all of turnout may take, and
    # who has no event loop does not need it.
    from asyncio import to_thread

    return await to_thread(call, *args, **kwargs)


class Job(Generic[R]):
    """A job that was enqueued; with `enqueued` False, refused: another holds its unique key, or
    middleware vetoed it, or (`shed`) its queue is full and its priority low.
    """

    __slots__ = ("_app", "enqueued", "id", "shed", "task")

    def __init__(
        self,
        app: Turnout,
        job_id: JobId,
        task: str | None,
        *,
        enqueued: bool = True,
        shed: bool = False,
    ) -> None:
        self._app = app
        self.id = job_id
        self.task = task
        self.enqueued = enqueued
        self.shed = shed

    def __repr__(self) -> str:
        return f"Job({self.id!r}, task={self.task!r}, enqueued={self.enqueued})"

    @property
    def buffered(self) -> bool:
        """Whether the job waits in this process, for its store or for room in its queue: see
        `on_unavailable` and `when_full`.
        """
        return self._app.recorder.waits(self.id)

    def refresh(self) -> JobRecord:
        """Return what is known of the job now, in whatever state it is.

        Raises JobNotFound when nothing is: the id is wrong, the record was pruned, or the
        transaction that enqueued it has not committed.
        """
        found = self._app.store.find(JobFilter(ids=(self.id,)), limit=1)
        if not found:
            if not self.enqueued:
                why = "shed, as its queue was full" if self.shed else "refused"
                msg = f"job {self.id} was {why} at its enqueue: it never existed"
                raise JobNotFound(msg)
            if self.buffered:
                msg = f"job {self.id} waits in this process until the store takes it"
                raise JobNotFound(msg)
            msg = (
                f"no trace of job {self.id}: it was never recorded here, was deleted, or its "
                "record is past its keeping time"
            )
            raise JobNotFound(msg)
        return found[0]

    async def arefresh(self) -> JobRecord:
        """Return what `refresh` does, without blocking the event loop."""
        return await in_thread(self.refresh)

    def wait(self, timeout: float | None = None) -> R:
        """Block until the job has ended and return what its task returned.

        `timeout` in seconds. Raises JobFailed when it ended in any other way than success,
        JobTimeout when the time is up (the job goes on). A result that was not kept comes back as
        None.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _POLL_FIRST
        while True:
            record = self.refresh()
            if record.state.is_final:
                return self._answer(record)
            if deadline is not None and time.monotonic() + pause > deadline:
                raise self._out_of_time(record, timeout)
            time.sleep(pause)
            pause = min(pause * 1.5, _POLL_MOST)

    async def await_result(self, timeout: float | None = None) -> R:  # noqa: ASYNC109 - as `wait`
        """Wait as `wait` does, without blocking the event loop."""
        from asyncio import sleep

        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _POLL_FIRST
        while True:
            record = await self.arefresh()
            if record.state.is_final:
                return self._answer(record)
            if deadline is not None and time.monotonic() + pause > deadline:
                raise self._out_of_time(record, timeout)
            await sleep(pause)
            pause = min(pause * 1.5, _POLL_MOST)

    def _out_of_time(self, record: JobRecord, timeout: float | None) -> JobTimeout:
        return JobTimeout(f"job {self.id} is still {record.state} after {timeout} s; it goes on")

    def _answer(self, record: JobRecord) -> R:
        if record.state is not State.SUCCEEDED:
            why = record.why or "see its attempts"
            msg = f"job {self.id} ({record.task}) ended as {record.state}: {why}"
            raise JobFailed(msg, record)
        if record.result is None:
            return None  # type: ignore[return-value]
        task = self._app.tasks.get(record.task)
        kind: Any = task.signature.result_type if task else Any
        value: R = decode_value(record.result, kind)
        return value

    def status_token(self, ttl: float | timedelta = 3_600.0, *, result: bool = False) -> str:
        """Return a token by which a browser may follow this job at a `status_app`.

        It is good for `ttl` (seconds or timedelta, rounded up to a second) and tells the result
        only if `result`. Whoever holds it needs nothing else. Raises ConfigError without a
        `secret`, JobNotFound for a job that was refused at its enqueue.
        """
        from turnout.tokens import Grant, sign

        secrets = self._app.config.secret
        if not secrets:
            msg = "status tokens need a secret: Turnout(..., secret=) or TURNOUT_SECRET"
            raise ConfigError(msg)
        if not self.enqueued:
            msg = f"job {self.id} was refused at its enqueue: there is nothing to follow"
            raise JobNotFound(msg)
        seconds = as_seconds(ttl, "status_token(ttl=)", CENTURY)
        expires_at = ceil(self._app.clock() + seconds)
        return sign(Grant(check_id(self.id), expires_at, result), secrets[0])

    def cancel(self) -> bool:
        """Stop the job: a queued one will not run, a running one is asked to stop.

        False when it had ended already, or had been asked before.
        """
        return self._app.store.change(JobFilter(ids=(self.id,)), "cancel", limit=1) == 1
