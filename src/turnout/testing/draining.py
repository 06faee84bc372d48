"""`drain`: run what is ready, here and now, until nothing is.

The invariant: it ends. Jobs that keep enqueuing jobs meet `limit`, jobs that keep failing meet
`until`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from turnout.errors import ConfigError, as_seconds
from turnout.job import JobFilter
from turnout.task import timestamp
from turnout.testing.clock import FakeClock
from turnout.testing.runner import Drained, Runner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from turnout.app import Turnout
    from turnout.job import JobRecord

_PAGE = 1_000


def drain(
    jobs: Turnout,
    *,
    queue: str | None = None,
    until: datetime | timedelta | float | None = None,
    limit: int = 1_000,
    raise_errors: bool = False,
) -> Drained:
    """Run every job that is ready in this thread, and those they enqueue; return what came of them.

    `queue` leaves the others alone. With `until` (an aware datetime, or seconds or a timedelta from
    now) jobs that become due by then run too, retries included: the fake clock moves to each, and
    in the end to `until`. Failures are recorded as in production; `raise_errors` raises the first
    one in the end. Raises AssertionError when more than `limit` attempts would run, ConfigError
    when `until` is given and no FakeClock is installed.
    """
    end = None if until is None else _moment(jobs, until)
    with Runner(jobs).open() as runner:
        _run_ready(runner, queue, limit)
        while end is not None and _move_on(jobs, queue, end):
            _run_ready(runner, queue, limit)
    if raise_errors:
        runner.drained.raise_first()
    return runner.drained


def _run_ready(runner: Runner, queue: str | None, limit: int) -> None:
    while (job := runner.lease(queue or "*")) is not None:
        if runner.drained.total() >= limit:
            runner.give_back(job)
            msg = (
                f"drain ran {limit:,} attempts and more are ready, first {job.task}: does a task "
                "enqueue itself? Otherwise give a larger limit="
            )
            raise AssertionError(msg)
        runner.run(job)


def _clock(jobs: Turnout) -> FakeClock:
    if isinstance(jobs.clock, FakeClock):
        return jobs.clock
    msg = "drain(until=) moves a fake clock: wrap it in `with FakeClock().installed(jobs):`"
    raise ConfigError(msg)


def _moment(jobs: Turnout, until: datetime | timedelta | float) -> float:
    clock = _clock(jobs)
    if isinstance(until, datetime):
        return timestamp(until, "until=")
    return clock() + as_seconds(until, "until=")


def _move_on(jobs: Turnout, queue: str | None, end: float) -> bool:
    """Move the clock to the next job that becomes due by `end`; False when there is none."""
    clock = _clock(jobs)
    ahead = (job.run_at for job in _scheduled(jobs, queue) if job.run_at is not None)
    due = min(ahead, default=end + 1)
    clock.move_to(min(due, end))
    return due <= end


def _scheduled(jobs: Turnout, queue: str | None) -> Iterator[JobRecord]:
    where, last = JobFilter(view="scheduled", queue=queue), None
    while page := jobs.store.find(where, limit=_PAGE, after=last):
        yield from page
        last = page[-1].id
