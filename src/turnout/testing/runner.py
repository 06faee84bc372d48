"""Runs leased jobs in the calling thread, through the worker's own attempt and settler.

The invariant: whatever a job does, its outcome is settled before anything is raised here.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import Counter
from contextlib import contextmanager
from contextvars import copy_context
from threading import Thread
from typing import TYPE_CHECKING

import msgspec

from turnout.current import CurrentJob
from turnout.errors import Cancel, Discard, Retry, Snooze
from turnout.events import JobStarted
from turnout.identity import host, worker_name
from turnout.job import Exchanged, LeasedJob, Outcome, State, Want, WorkerInfo
from turnout.lanes import base_of, is_lane
from turnout.worker.attempt import arun_attempt, run_attempt
from turnout.worker.crew import UNKNOWN_TASK_DELAY
from turnout.worker.joblog import JobLog
from turnout.worker.plan import Plan
from turnout.worker.settler import Settler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from turnout.app import Turnout

_TTL = 7 * 86_400.0  # a debugger may stand in a test for long
_ASKED_FOR = (Retry, Snooze, Discard, Cancel)


class Drained(Counter[str]):
    """How many attempts ended in which way, by word: succeeded, retried, snoozed, dead, discarded,
    cancelled, released (put back unrun). `errors` holds what they raised, in order."""  # noqa: D209

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[BaseException] = []

    def note(self, outcome: Outcome) -> None:
        """Count one more outcome."""
        self[_word(outcome)] += 1
        error = outcome.exception
        handled = isinstance(error, _ASKED_FOR) or outcome.state in _DECIDED
        if error is not None and not handled:
            self.errors.append(error)

    def raise_first(self) -> None:
        """Raise the first error, if there is one; a note tells of the others."""
        if self.errors:
            first, *others = self.errors
            if others:
                first.add_note(f"{len(others)} more of the jobs that ran here failed")
            raise first


_DECIDED = (State.DISCARDED, State.CANCELLED)  # ends that a rule, the task or a person chose


class Runner:
    """A worker of one thread, for as long as the caller runs it."""

    stopping = False

    def __init__(self, jobs: Turnout) -> None:
        self.drained = Drained()
        self.app = jobs
        self._store = jobs.store
        self._name = worker_name()
        self._epoch = secrets.token_hex(12)
        self._settler = Settler(jobs.events, JobLog(), self._name)
        self._plans: dict[str, Plan] = {}

    @contextmanager
    def open(self) -> Iterator[Runner]:
        """Be known to the store while the block lasts; what is still leased then goes back."""
        info = WorkerInfo(
            epoch=self._epoch,
            name=self._name,
            host=host(),
            pid=os.getpid(),
            queues=("*",),
            concurrency=1,
            started_at=self.app.clock(),
            state="quiet",
        )
        self._store.heartbeat(info, ttl=_TTL)
        try:
            yield self
        finally:
            self._store.heartbeat(msgspec.structs.replace(info, state="stopped"), ttl=_TTL)

    def lease(self, queue: str = "*") -> LeasedJob | None:
        """Take the next job that is ready, if there is one; those in lanes after the others."""
        for names in ([queue], self._lanes(queue)):
            want = Want(tuple((name, 1) for name in names), 1)
            if names and (leased := self._store.exchange(self._epoch, [], want).leased):
                return leased[0]
        return None

    def _lanes(self, queue: str) -> list[str]:
        ready = [name for name in self._store.ready() if is_lane(name)]
        return sorted(name for name in ready if queue in ("*", base_of(name), name))

    def give_back(self, job: LeasedJob) -> None:
        """Return a job unrun, to its old place."""
        self._settle(Outcome.released(job, self.app.clock()))

    def run(self, job: LeasedJob) -> None:
        """Run one leased job, settle it and count it.

        Raises only what is meant for the test itself: a person's interrupt, pytest's own outcomes.
        """
        task = self.app.tasks.get(job.task)
        if task is None:
            now = self.app.clock()
            outcome = Outcome.released(job, now, run_at=now + UNKNOWN_TASK_DELAY[0])
        else:
            if job.task not in self._plans:
                self._plans[job.task] = Plan(self.app, task)
            outcome = self._attempt(self._plans[job.task], job)
        self._settle(outcome)
        self.drained.note(outcome)
        _let_through(outcome.exception)

    def note(self, job: LeasedJob, progress: str) -> bool:
        """Keep a running job's progress; called by the job."""
        return self._store.note(self._epoch, job, progress)

    def settle_within(self, outcome: Outcome, connection: object) -> bool:
        """Settle in the transaction of the attempt itself; called by the job."""
        answer = self._store.exchange(self._epoch, [outcome], None, within=connection)
        return outcome.job.id in answer.settled

    def _attempt(self, plan: Plan, leased: LeasedJob) -> Outcome:
        job = CurrentJob(leased, self, self.app.clock(), plan.timeout)
        events = self.app.events
        if events.wants(JobStarted):
            events.emit(JobStarted(job.id, job.task, job.queue, job.attempt, self._name))
        if plan.is_async:
            return _run_coroutine(plan, job, self._name)
        return copy_context().run(run_attempt, plan, job, self._name)

    def _settle(self, outcome: Outcome) -> None:
        if outcome.settled:
            answer = Exchanged([outcome.job.id], [])
        else:
            answer = self._store.exchange(self._epoch, [outcome], None)
        self._settler.confirm([outcome], answer)


def _run_coroutine(plan: Plan, job: CurrentJob, worker: str) -> Outcome:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(arun_attempt(plan, job, worker))
    # The caller is itself a coroutine: its loop cannot run another one meanwhile.
    outcomes: list[Outcome] = []
    context = copy_context()
    thread = Thread(
        target=lambda: outcomes.append(
            context.run(asyncio.run, arun_attempt(plan, job, worker)),
        )
    )
    thread.start()
    thread.join()
    return outcomes[0]


def _let_through(error: BaseException | None) -> None:
    passing = (Exception, SystemExit, asyncio.CancelledError)
    if error is not None and not isinstance(error, passing):
        raise error


def _word(outcome: Outcome) -> str:
    if outcome.state is not State.QUEUED:
        return outcome.state.value
    if outcome.error is not None:
        return "retried"
    return "snoozed" if outcome.trail is not None else "released"
