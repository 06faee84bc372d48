"""One child process as its worker sees it, and what becomes of a job whose child died under it.

why the child died            what becomes of the job
past the job's timeout        fails with JobTimeout, by the task's rules
killed after a cancel         cancelled
its lease was lost            nothing: it is somebody else's by now
the grace was over            released, unblamed
anything else                 a crash: counted, never an attempt (crash.py)
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from turnout.crash import MAX_TAIL, Evidence, crash_entry, crashed
from turnout.current import current
from turnout.errors import JobTimeout
from turnout.failure import clean
from turnout.job import Outcome
from turnout.worker.attempt import OVERRUN, failed, lengthened
from turnout.worker.wire import Flag, Run, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from turnout.current import CurrentJob
    from turnout.worker.crew import Crew
    from turnout.worker.plan import Plan
    from turnout.worker.wire import Died

log = logging.getLogger("turnout.worker")

Fate = Literal["timeout", "cancelled", "lost", "stopped"]
_NEVER = float("inf")
_TOLD: tuple[Literal["cancelled", "lost", "stopping"], ...] = ("cancelled", "lost", "stopping")


class Child:
    """One child process, and the job in it."""

    plan: Plan

    def __init__(self, pid: int, channel: int, stderr: int) -> None:
        self.pid = pid
        end = socket.socket(fileno=channel)
        end.setblocking(False)
        os.set_blocking(stderr, False)
        self.wire = Wire(end)
        self.stderr = stderr
        self.is_read = self.is_heard = True  # its channel and its stderr are watched
        self.is_leaving = False
        self.ran = 0
        self.job: CurrentJob | None = None
        self.kill_at = _NEVER  # monotonic
        self.sentence: Fate = "timeout"  # what it will be killed for
        self.fate: Fate | None = None  # what it was killed for
        self._told: set[Flag] = set()
        self._tail = bytearray()

    def begin(self, job: CurrentJob, plan: Plan, epoch: str) -> None:
        """Send it a job."""
        self.job, self.plan = job, plan
        self._told.clear()
        self._tail.clear()
        self.sentence = "timeout"
        if plan.timeout is not None:
            # A coroutine is cancelled at its timeout, inside; a `def` has no such moment.
            self.kill_at = time.monotonic() + plan.timeout + (OVERRUN if plan.is_async else 0.0)
        self.wire.post(Run(job.leased, epoch, job.started_at))

    def end(self) -> tuple[CurrentJob, Plan]:
        """Take the job from it, which has ended."""
        assert self.job is not None  # noqa: S101 - only a busy child ends a job
        job, self.job = self.job, None
        self.kill_at = _NEVER
        self.ran += 1
        return job, self.plan

    def doom(self, sentence: Fate, at: float) -> None:
        """Have it killed at a moment, unless it is to be killed sooner."""
        if at < self.kill_at and self.fate is None:
            self.kill_at, self.sentence = at, sentence

    def has_news(self) -> bool:
        """Tell whether its job has a flag that it was not told of."""
        return any(True for _ in self._untold())

    def is_news(self, flag: Flag) -> bool:
        """Tell, once, that its job was not told of this."""
        if flag in self._told:
            return False
        self._told.add(flag)
        return True

    def news(self) -> list[Flag]:
        """Return those flags, each once."""
        found = list(self._untold())
        self._told.update(found)
        return found

    def _untold(self) -> Iterator[Flag]:
        job = self.job
        if job is not None:
            for flag in _TOLD:
                if getattr(job, flag) and flag not in self._told:
                    yield flag

    def remember(self, said: bytes) -> None:
        """Keep the end of what it wrote."""
        self._tail += said
        del self._tail[:-MAX_TAIL]

    @property
    def tail(self) -> str | None:
        """What it wrote last while it ran this job."""
        return clean(self._tail.decode("utf-8", "replace")).strip() or None

    def close(self) -> None:
        """Let go of its channel and its stderr."""
        self.wire.close()
        os.close(self.stderr)


def conclude(child: Child, death: Died | None, crew: Crew) -> Outcome:
    """Return the outcome of a job whose child has died under it."""
    job, plan = child.job, child.plan
    assert job is not None  # noqa: S101 - only a busy child has a job to conclude
    match child.fate:
        case "timeout":
            job.timed_out = True
            _make_current(job, plan)
            return failed(plan, job, JobTimeout(), crew.name)
        case "cancelled":
            error = asyncio.CancelledError("it was asked to stop, did not, and was killed")
            return failed(plan, job, error, crew.name)
        case "lost" | "stopped":
            return Outcome.released(job.leased, crew.app.clock())
        case None:
            pass
    evidence = _evidence(child, death)
    log.warning("job %s (%s): its process died under it: %s", job.id, job.task, evidence.words)
    entry = crash_entry(job.attempt, (job.started_at, crew.app.clock()), crew.name, evidence)
    return crashed(job.leased, entry, lengthened(job, entry), plan.on_crash)


def _make_current(job: CurrentJob, plan: Plan) -> None:
    """Let this thread see the job as its task did: a rule's `then` is about to be called."""
    current.set(job)
    leased = job.leased
    with suppress(Exception):  # what cannot be read, the child had to do without as well
        if leased.context is not None:
            plan.app.restore_context(leased.context)
        args, kwargs = plan.decode(leased.args)
        job.arguments = args, {**kwargs}


def _evidence(child: Child, death: Died | None) -> Evidence:
    if death is None:
        return Evidence("its end was not seen", tail=child.tail)
    return Evidence(how(death.code), death.memory, child.tail)


def how(code: int) -> str:
    """Return an exit code (negative: a signal's number) in words."""
    if code >= 0:
        return f"exit code {code}"
    if code == -signal.SIGKILL:
        return "signal SIGKILL: a person, or the kernel when memory ran out"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
