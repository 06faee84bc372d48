"""Runs `async def` tasks on one event loop in a thread of its own.

Each attempt is an asyncio task in a context of its own, so that it can be cancelled and leaks no
context variables into the next. The loop never talks to the store: when slots are free and nothing
waits, it wakes a worker thread, which makes the round trip and hands in a batch at once.

A coroutine can swallow its cancellation, as a thread can sit in C code. One that does so at its
timeout is left after `OVERRUN` more seconds: its outcome is decided without it, its slot is free.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING

from turnout.errors import JobTimeout
from turnout.worker.attempt import OVERRUN, arun_attempt, failed
from turnout.worker.fetcher import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from turnout.current import CurrentJob
    from turnout.job import JobId, LeasedJob
    from turnout.worker.crew import Crew
    from turnout.worker.plan import Plan

log = logging.getLogger("turnout.worker")


class AsyncExecutor:
    """The event loop of one worker process."""

    def __init__(self, crew: Crew, size: int, hungry: Callable[[], None]) -> None:
        self.size = size
        self.ready: deque[LeasedJob] = deque()
        self._crew = crew
        self._hungry = hungry
        self._handed_at = 0.0
        self._asked = self._starting = False
        self._has_timeouts = any(p.timeout is not None for p in crew.plans.values())
        self._tasks: dict[JobId, asyncio.Task[None]] = {}
        self._clean = copy_context()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="turnout-loop", daemon=True)

    def start(self) -> None:
        """Start the loop's thread."""
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def free(self) -> int:
        """Return how many more jobs could start now, less those that wait here."""
        return self.size - len(self._tasks) - len(self.ready)

    def hand(self, jobs: Iterable[LeasedJob]) -> None:
        """Add leased jobs from another thread: one wake for the whole batch."""
        self._handed_at = time.monotonic()
        self.ready.extend(jobs)
        self._loop.call_soon_threadsafe(self._start_some)

    def take_waiting(self) -> list[LeasedJob]:
        """Take back what has not started."""
        taken: list[LeasedJob] = []
        try:
            while True:
                taken.append(self.ready.popleft())
        except IndexError:
            return taken

    def tasks(self) -> list[asyncio.Task[None]]:
        """Return the coroutines that run or wait here, from any thread."""
        return list(self._tasks.values())

    def is_moving(self) -> bool:
        """True while a job waits or starts here; looked at in the order in which it moves."""
        return bool(self.ready or self._starting or self._tasks)

    def _start_some(self) -> None:
        self._starting = True
        try:
            self._start_ready()
        finally:
            self._starting = False

    def _start_ready(self) -> None:
        while len(self._tasks) < self.size:
            try:
                job = self.ready.popleft()
            except IndexError:
                return
            plan = self._crew.plans[job.task]
            # Not a copy of the context at hand: that may be the one of a job that just ended.
            task = self._loop.create_task(self._run(job, plan), context=self._clean.copy())
            self._tasks[job.id] = task

    async def _run(self, job: LeasedJob, plan: Plan) -> None:
        crew = self._crew
        running = crew.begin(job, plan)
        outcome = await arun_attempt(plan, running, crew.name)
        if self._tasks.get(job.id) is not asyncio.current_task():
            return  # given up meanwhile: the outcome was decided without us
        del self._tasks[job.id]
        crew.end(outcome, plan)
        self._start_some()
        if len(self.ready) < self.size // 4 and not self._asked:  # before it is empty
            # After all that ended in the same moment: the trip would fight them for the GIL.
            self._asked = True
            self._loop.call_soon(self._ask)

    def _ask(self) -> None:
        self._asked = False
        self._hungry()

    def cancel(self, job_ids: Iterable[JobId] | None = None) -> None:
        """Cancel these jobs, or all, from another thread."""

        def cancel() -> None:
            for job_id in list(self._tasks) if job_ids is None else job_ids:
                task = self._tasks.get(job_id)
                if task is not None:
                    task.cancel()

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(cancel)

    def attend(self) -> None:
        """Called by the clock every 50 ms while jobs run: see to stuck work and overdue jobs."""
        if self.ready and time.monotonic() - self._handed_at > PATIENCE:
            self._crew.fetcher.hoarded()
            self._crew.give_back(self.take_waiting())
        if self._has_timeouts and self._tasks and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._leave_overdue)

    def _leave_overdue(self) -> None:
        now = self._crew.app.clock()
        for job in [self._crew.running.get(job_id) for job_id in self._tasks]:
            if job and job.timeout is not None and now > job.started_at + job.timeout + OVERRUN:
                self._leave(job)

    def _leave(self, job: CurrentJob) -> None:
        log.error(
            "job %s (%s) did not stop at its timeout; its coroutine is left", job.id, job.task
        )
        job.lost = job.timed_out = True
        crew = self._crew
        plan = crew.plans[job.task]
        del self._tasks[job.id]
        crew.end(failed(plan, job, JobTimeout(), crew.name), plan)
        self._start_some()

    def close(self) -> None:
        """Stop the loop; jobs that still run end here and now, unsettled."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(1.0)
