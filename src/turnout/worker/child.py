"""A child process: runs one isolated job after another, and ends with its worker.

    idle -> running -> idle ...
               |         '-> leaving (it has run `reuse` jobs, or has grown, or found no memory): a
               |             fresh one takes its place
               '-> gone (killed, crashed, exited): its worker settles that

The main thread runs the jobs, so that code which insists on the main thread works. A second thread
reads the wire: it notes what the worker has to tell, and ends the process when the worker is gone.
Connections are this process's own, opened when a job first needs one; progress, enqueues and
transactional settles go straight to the store, under the epoch and fence of the job's lease.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import sys
import threading
from contextvars import copy_context
from queue import SimpleQueue
from typing import TYPE_CHECKING

from turnout.current import CurrentJob
from turnout.worker.attempt import arun_attempt, failed, run_attempt
from turnout.worker.plan import Plan
from turnout.worker.stacks import standing
from turnout.worker.wire import Ended, Run, Show, Shown, Tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from turnout.app import Turnout
    from turnout.job import LeasedJob, Outcome
    from turnout.worker.wire import Message, Wire

log = logging.getLogger("turnout.worker")

GROWTH = 256 * 2**20  # bytes by which a child may outgrow its birth before it is replaced
_UNIT = 1 if sys.platform == "darwin" else 1024


def server(app: Turnout, worker: str) -> Callable[[Wire], int]:
    """Return what a child process of this worker runs."""
    return lambda wire: ChildProcess(app, worker, wire).run()


class LeaseHost:
    """What a running job needs of its process: the way to the store, under the lease's epoch."""

    __slots__ = ("_epoch", "app", "stopping")

    def __init__(self, app: Turnout, epoch: str) -> None:
        self.app = app
        self._epoch = epoch
        self.stopping = False

    def note(self, job: LeasedJob, progress: str) -> bool:
        """Keep a running job's progress; False when the lease was lost."""
        return self.app.store.note(self._epoch, job, progress)

    def settle_within(self, outcome: Outcome, connection: object) -> bool:
        """Settle a job in the transaction of its own attempt; False when the lease was lost."""
        answer = self.app.store.exchange(self._epoch, [outcome], None, within=connection)
        return outcome.job.id in answer.settled


class Running:
    """The attempt at hand; the reading thread talks to it."""

    __slots__ = ("attempt", "host", "job", "plan", "stop")

    def __init__(self, plan: Plan, host: LeaseHost, job: CurrentJob) -> None:
        self.plan = plan
        self.host = host
        self.job = job
        self.stop: Callable[[], object] = _nothing
        self.attempt: asyncio.Task[Outcome] | None = None  # of a coroutine

    def heed(self, message: Tell) -> None:
        """Set a flag of the job; a coroutine is cancelled by all but a stop yet to come."""
        match message.flag:
            case "cancelled":
                self.job.cancelled = True
            case "lost":
                self.job.lost = True
            case "stopping":
                self.host.stopping = True
            case "interrupt":
                pass
        if message.flag != "stopping":
            self.stop()


def _nothing() -> None:
    """Stop nothing: a `def` looks at its flags, or is killed."""


class ChildProcess:
    """The child's side of the pool."""

    def __init__(self, app: Turnout, worker: str, wire: Wire) -> None:
        self._app = app
        self._worker = worker
        self._wire = wire
        self._inbox: SimpleQueue[Running] = SimpleQueue()
        self._at_hand: Running | None = None
        self._plans: dict[str, Plan] = {}
        self._clean = copy_context()
        self._loop = asyncio.Runner()
        self._ran = 0
        self._born_with = _peak()

    def run(self) -> int:
        """Run jobs until it is time to leave."""
        threading.Thread(target=self._read, name="turnout-wire", daemon=True).start()
        while True:
            running = self._inbox.get()
            outcome = self._bounded(running)
            self._at_hand = None
            self._ran += 1
            leaving = self._is_worn(running.plan, outcome)
            self._wire.send(Ended.of(outcome, leaving=leaving))
            if leaving:
                return 0

    def _is_worn(self, plan: Plan, outcome: Outcome) -> bool:
        isolate = plan.isolate
        if isolate is None:
            return False
        # What one job leaves behind counts against the ceiling of the next.
        most = GROWTH if isolate.memory is None else min(GROWTH, isolate.memory // 4)
        return (
            self._ran >= isolate.reuse
            or _peak() - self._born_with > most
            or isinstance(outcome.exception, MemoryError)
        )

    # ---- the reading thread

    def _read(self) -> None:
        code = 1
        try:
            while (messages := self._wire.receive()) is not None:
                for message in messages:
                    self._heed(message)
            code = 0
        except BaseException:
            log.exception("reading from the worker failed")
        finally:
            # The worker is gone or has no use for this process, or can tell it nothing any more.
            os._exit(code)

    def _heed(self, message: Message) -> None:
        if isinstance(message, Run):
            self._at_hand = self._take(message)
            self._inbox.put(self._at_hand)
        elif isinstance(message, Tell) and self._at_hand is not None:
            self._at_hand.heed(message)
        elif isinstance(message, Show) and self._at_hand is not None:
            self._show(self._at_hand)

    def _show(self, running: Running) -> None:
        tasks = [] if running.attempt is None else [running.attempt]
        stack = standing(tasks).get(running.job.id)
        if stack is not None:
            self._wire.send(Shown(running.job.id, stack))

    def _take(self, message: Run) -> Running:
        name = message.job.task
        plan = self._plans.get(name)
        if plan is None:
            plan = self._plans[name] = Plan(self._app, self._app.tasks[name])
        host = LeaseHost(self._app, message.epoch)
        job = CurrentJob(message.job, host, message.started_at, plan.timeout)
        return Running(plan, host, job)

    # ---- one attempt

    def _bounded(self, running: Running) -> Outcome:
        """Run one attempt under the task's ceiling of memory.

        The ceiling bounds what the process may map to write (RLIMIT_DATA): an allocation too many
        fails with MemoryError, at once and at its line, where a look at the resident size every so
        often would come late. It is lifted before the outcome is told, which needs memory too.
        """
        ceiling = running.plan.isolate.memory if running.plan.isolate else None
        if ceiling is None:
            return self._attempt(running)
        before = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (ceiling, before[1]))
        try:
            return self._attempt(running)
        except MemoryError as error:
            resource.setrlimit(resource.RLIMIT_DATA, before)
            return failed(running.plan, running.job, error, self._worker)
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, before)

    def _attempt(self, running: Running) -> Outcome:
        plan, job = running.plan, running.job
        context = self._clean.copy()
        if not plan.is_async:
            return context.run(run_attempt, plan, job, self._worker)
        return self._loop.run(self._as_task(running), context=context)

    async def _as_task(self, running: Running) -> Outcome:
        loop = asyncio.get_running_loop()
        attempt = asyncio.ensure_future(arun_attempt(running.plan, running.job, self._worker))
        running.attempt = attempt
        running.stop = lambda: loop.call_soon_threadsafe(attempt.cancel)
        if running.job.cancelled:
            attempt.cancel()
        try:
            return await attempt
        except asyncio.CancelledError as error:  # before its first step
            return failed(running.plan, running.job, error, self._worker)
        finally:
            running.stop = _nothing


def _peak() -> int:
    """Return the most bytes that this process has held resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
