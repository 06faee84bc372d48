"""A worker without threads: runs what is ready through the real crew, one job at a time.

It leases, runs `attempt.py` and settles as a worker does, by the worker's own parts.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from typing import Any

from turnout import Turnout
from turnout.current import CurrentJob
from turnout.job import Exchanged, LeasedJob, Outcome, Want, WorkerInfo
from turnout.worker.attempt import arun_attempt, run_attempt
from turnout.worker.joblog import JobLog
from turnout.worker.plan import Plan
from turnout.worker.settler import Settler

log = logging.getLogger("harness")


class Bench:
    """One application and the means to run its jobs here and now."""

    stopping = False
    epoch = "bench"

    def __init__(self, app: Turnout) -> None:
        self.app = app
        self.settler = Settler(app.events, JobLog(), "bench")
        self.info = WorkerInfo(
            epoch=self.epoch, name="bench", host="h", pid=1, queues=("*",), concurrency=1,
            started_at=0.0,
        )  # fmt: skip

    def note(self, job: LeasedJob, progress: str) -> bool:
        return self.app.store.note(self.epoch, job, progress)

    def settle_within(self, outcome: Outcome, connection: object) -> bool:
        answer = self.app.store.exchange(self.epoch, [outcome], None, within=connection)
        return outcome.job.id in answer.settled

    def drain(self, *, at: float | None = None, most: int = 1000) -> int:
        """Run what is ready (by the time `at`) until nothing is; return the number of attempts."""
        store = self.app.store
        store.setup()
        store.heartbeat(self.info, ttl=3600)
        ran = 0
        while ran < most:
            leased = store.exchange(self.epoch, [], Want((("*", 1),), 1), now=at).leased
            if not leased:
                return ran
            outcome = self.attempt(leased[0])
            answer = Exchanged([outcome.job.id], [])
            if not outcome.settled:
                answer = store.exchange(self.epoch, [outcome], None, now=at)
            self.settler.confirm([outcome], answer)
            ran += 1
        return ran

    def attempt(self, leased: LeasedJob, **flags: Any) -> Any:
        """Run one attempt and return its outcome."""
        from turnout.events import JobStarted

        plan = Plan(self.app, self.app.tasks[leased.task])
        job = CurrentJob(leased, self, self.app.clock(), plan.timeout)
        for name, value in flags.items():
            setattr(job, name, value)
        event = JobStarted(job.id, job.task, job.queue, job.attempt, "bench")
        self.app.events.emit(event)
        if plan.is_async:
            return asyncio.run(arun_attempt(plan, job, "bench"))
        return copy_context().run(run_attempt, plan, job, "bench")
