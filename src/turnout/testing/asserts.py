"""What waits in an application's queues, for a test to look at.

The invariant: nothing here changes a job, and every failure shows what was there instead.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from turnout.job import JobFilter, JobRecord, State
from turnout.task import Task, timestamp

if TYPE_CHECKING:
    from turnout.app import Turnout

_PAGE, _SHOWN, _WIDTH = 1_000, 20, 200
AnyTask = Task[Any, Any, Any]


def enqueued(
    jobs: Turnout, task: AnyTask | str | None = None, *, queue: str | None = None
) -> list[JobRecord]:
    """Return the jobs that wait, due or scheduled, in the order in which they were enqueued."""
    name = task.name if isinstance(task, Task) else task
    where = JobFilter(states=(State.QUEUED,), task=name, queue=queue)
    found: list[JobRecord] = []
    while page := jobs.store.find(where, limit=_PAGE, after=found[-1].id if found else None):
        found += page
    return found[::-1]


def assert_enqueued(
    jobs: Turnout,
    task: AnyTask | str,
    *args: Any,
    queue: str | None = None,
    count: int | None = None,
    run_at: datetime | None = None,
    delta: float = 1.0,
    **kwargs: Any,
) -> list[JobRecord]:
    """Assert that jobs like this wait, and return them.

    Without arguments, any call of `task` counts; with them, a call that means the same. `count`
    asks for exactly so many (otherwise: at least one), `run_at` for that time, give or take `delta`
    seconds. Raises AssertionError, which lists what waits.
    """
    wanted = _Wanted(jobs, task, args, kwargs)
    when = None if run_at is None else (timestamp(run_at, "run_at="), delta)
    found = wanted.find(queue, when)
    if (found and count is None) or len(found) == count:
        return found
    number = "at least 1 job" if count is None else f"exactly {count} job{'s' * (count != 1)}"
    msg = f"expected {number} {wanted}{_how(queue, run_at)}, found {len(found)}{_story(jobs)}"
    raise AssertionError(msg)


def refute_enqueued(
    jobs: Turnout, task: AnyTask | str, *args: Any, queue: str | None = None, **kwargs: Any
) -> None:
    """Assert that no job like this waits; matches as `assert_enqueued` does."""
    wanted = _Wanted(jobs, task, args, kwargs)
    found = wanted.find(queue, None)
    if found:
        msg = f"expected no job {wanted}{_how(queue, None)}, found {len(found)}{_story(jobs)}"
        raise AssertionError(msg)


class _Wanted:
    """A call to look for."""

    def __init__(
        self, jobs: Turnout, task: AnyTask | str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._jobs = jobs
        self._task = jobs.find_task(task) if isinstance(task, str) else task
        signature = self._task.signature
        self._text = self._key = None
        if args or kwargs:
            self._text = signature.encode(args, kwargs, jobs.config.max_payload)
            self._key = signature.encode_key(*signature.decode(self._text))

    def __str__(self) -> str:
        return f"{self._task.name} {_short(self._text or 'with any arguments')}"

    def find(self, queue: str | None, when: tuple[float, float] | None) -> list[JobRecord]:
        found = enqueued(self._jobs, self._task, queue=queue)
        return [job for job in found if self._is_call(job) and _is_at(job, when)]

    def _is_call(self, job: JobRecord) -> bool:
        if self._key is None or job.args is None:
            return self._key is None
        signature = self._task.signature
        return signature.encode_key(*signature.decode(job.args)) == self._key


def _is_at(job: JobRecord, when: tuple[float, float] | None) -> bool:
    if when is None:
        return True
    return job.run_at is not None and abs(job.run_at - when[0]) <= when[1]


def _how(queue: str | None, run_at: datetime | None) -> str:
    text = "" if queue is None else f" in queue {queue!r}"
    return text if run_at is None else f"{text} at {run_at.isoformat()}"


def _story(jobs: Turnout) -> str:
    """Return what waits, and how many jobs are through, as the end of a message."""
    waiting = enqueued(jobs)
    rest = len(waiting) - _SHOWN
    lines = [f"  {_line(job)}" for job in waiting[:_SHOWN]]
    lines += [f"  and {rest:,} more"] if rest > 0 else []
    through = sum(
        stats.succeeded + stats.dead + stats.discarded + stats.cancelled
        for stats in jobs.store.count()
    )
    lines += [f"  ({through:,} have ended already)"] if through else []
    head = "\nwaiting are:" if waiting else "; nothing is waiting"
    return "\n".join([head, *lines])


def _line(job: JobRecord) -> str:
    moment = datetime.fromtimestamp(job.run_at or 0.0, tz=UTC).isoformat(timespec="milliseconds")
    tries = f", attempt {job.attempt + 1}" if job.attempt else ""
    return f"{job.task} {_short(job.args or '')} in queue {job.queue!r} at {moment}{tries}"


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}..."
