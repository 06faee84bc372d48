"""`inline`: an enqueue runs the job before it returns.

The invariant: a job sees what it would see in a worker: it is recorded, leased, run by the worker's
own attempt and settled; only the waiting is gone.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from turnout.testing.runner import Drained, Runner
from turnout.testing.store import StandIn, swapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from turnout.app import Turnout
    from turnout.job import JobId, NewJob

_outer: ContextVar[Drained | None] = ContextVar("turnout_testing_outer", default=None)


class InlineStore(StandIn):
    """A stand-in that runs what it is given; what is not due yet waits."""

    def __init__(self, jobs: Turnout, *, raise_errors: bool) -> None:
        super().__init__(jobs)
        self._raise_errors = raise_errors

    def enqueue(
        self, jobs: Sequence[NewJob], *, within: object = None, now: float | None = None
    ) -> list[JobId | None]:
        """Record jobs, and run those that are due."""
        ids = super().enqueue(jobs, within=within, now=now)
        drained = self._run({job_id for job_id in ids if job_id is not None})
        outer = _outer.get()
        if outer is not None:
            outer.errors.extend(drained.errors)
        elif self._raise_errors:
            drained.raise_first()
        return ids

    def _run(self, wanted: set[JobId]) -> Drained:
        runner = Runner(self._jobs)
        # A job does not fail with the job it enqueues: the outermost enqueue raises for all.
        mark = _outer.set(runner.drained if _outer.get() is None else _outer.get())
        try:
            with runner.open():
                self._run_wanted(runner, wanted)
        finally:
            _outer.reset(mark)
        return runner.drained

    @staticmethod
    def _run_wanted(runner: Runner, wanted: set[JobId]) -> None:
        left = set(wanted)
        while left and (job := runner.lease()) is not None:
            if job.id in left:
                left.discard(job.id)
                runner.run(job)
        # Others that were ready, such as retries, were only passed over: closing gives them back.


@contextmanager
def inline(jobs: Turnout, *, raise_errors: bool = True) -> Iterator[StandIn]:
    """Run each job inside its enqueue, on a store in memory, while the block lasts.

    Every failure is recorded as in production. With `raise_errors` the enqueue then raises what the
    task raised, also where a retry would follow, but not what a rule or the task discards. Jobs
    that are due later, retries among them, wait for `drain(jobs, until=...)`. A job runs before the
    event JobEnqueued is told.
    """
    with swapped(jobs, InlineStore(jobs, raise_errors=raise_errors)) as store:
        yield store
