"""Runs `def` tasks on threads that feed themselves: leader and followers over one deque.

    running    runs the job it took from the deque
    leading    found the deque empty and nobody leading: makes the round trip, then runs what came;
               when nothing came, it sleeps at the store's door, still leading
    refilling  found the deque low and nobody leading: wakes a follower, which runs what is left
               while this one makes the round trip
    following  found the deque empty and somebody leading: sleeps until woken

There is no feeder thread and no hand-over of single jobs: a wake across cores costs 45 us on each
side, more than many jobs. A thread that takes a job that may be slow wakes one follower first,
which then takes the next job or the lead; one that takes a job known to be fast wakes nobody. When
a job believed fast is not, the clock thread notices within 50 ms (`attend`).

A thread cannot be killed. A job past its `timeout` gets an exception raised in its thread; if that
does not end it within `OVERRUN` seconds (it sits in C code), its outcome is decided without it, its
lease is given up with that outcome, and a new thread takes its place: the old one ends when it
comes back.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING

from turnout.errors import JobTimeout
from turnout.worker.attempt import OVERRUN, failed, run_attempt
from turnout.worker.fetcher import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from turnout.current import CurrentJob
    from turnout.job import LeasedJob
    from turnout.worker.crew import Crew
    from turnout.worker.plan import Plan

log = logging.getLogger("turnout.worker")

_NAP = 1.0  # a follower looks by itself after this long, should a wake be missed


class Overrun(BaseException):
    """Raised inside a thread whose job is past its timeout; never leaves this module."""


class Seat:
    """One thread's place: what it runs under a timeout, and whether it was given up."""

    __slots__ = ("busy", "deadline", "job", "left", "lock", "raised", "thread")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.thread: threading.Thread
        self.busy = False
        self.job: CurrentJob | None = None
        self.deadline = 0.0
        self.raised = False
        self.left = False


class ThreadExecutor:
    """The threads of one worker process."""

    def __init__(self, crew: Crew, size: int, wait: Callable[[], None]) -> None:
        self.size = size
        self.ready: deque[LeasedJob] = deque()
        self._crew = crew
        self._wait = wait
        self._handed_at = 0.0
        self._lead = threading.Lock()
        self.is_at_door = False
        self._sleepers = 0
        self._wake = threading.Condition(threading.Lock())
        self._seats: list[Seat] = []
        self._closing = False

    def start(self) -> None:
        """Start the threads."""
        for _ in range(self.size):
            self._seat()

    def _seat(self) -> None:
        seat = Seat()
        seat.thread = threading.Thread(
            target=self._work, args=(seat,), name=f"turnout-{len(self._seats)}", daemon=True
        )
        self._seats.append(seat)
        seat.thread.start()

    def free(self) -> int:
        """Return how many more jobs could start now, less those that wait here."""
        return self.size - self._busy() - len(self.ready)

    def _busy(self) -> int:
        return sum([seat.busy for seat in self._seats])

    def hand(self, jobs: Iterable[LeasedJob]) -> None:
        """Add leased jobs; the leader that brought them takes the first."""
        self._handed_at = time.monotonic()
        self.ready.extend(jobs)

    def take_waiting(self) -> list[LeasedJob]:
        """Take back what has not started."""
        taken: list[LeasedJob] = []
        try:
            while True:
                taken.append(self.ready.popleft())
        except IndexError:
            return taken

    def is_moving(self) -> bool:
        """True while a thread may bring, take or run a job; the one at the door does not."""
        if self.ready:
            return True
        alive = sum(seat.thread.is_alive() for seat in list(self._seats) if not seat.left)
        return alive > self.is_at_door

    # ---- a thread's life

    def _work(self, seat: Seat) -> None:
        fetcher = self._crew.fetcher
        while not seat.left:
            if len(self.ready) < fetcher.refill_at:
                self._refill()
            try:
                job = self.ready.popleft()
            except IndexError:
                job = None  # looked for below, lest this error hang on all that is raised there
            if job is not None:
                self._run(seat, job)
            elif self._closing:
                return
            else:
                self._find_work()

    def _run(self, seat: Seat, job: LeasedJob) -> None:
        crew = self._crew
        plan = crew.plans[job.task]
        seat.busy = True
        if not plan.is_fast:
            self.wake_one()
        running = crew.begin(job, plan)
        if plan.timeout is None:
            crew.end(copy_context().run(run_attempt, plan, running, crew.name), plan)
        else:
            self._timed_attempt(seat, running, plan)
        seat.busy = False

    def _find_work(self) -> None:
        try:
            self._lead_or_follow()
        except Exception:
            # A worker must never go deaf by an error of its own.
            log.exception("looking for work failed")
            self._nap(_NAP)

    def _lead_or_follow(self) -> None:
        if not self._lead.acquire(blocking=False):
            self._follow()
            return
        try:
            pause = self._be_leader()
        finally:
            self._lead.release()
        if pause > 0:
            self._nap(pause)  # not while leading: whoever frees a slot must find the lead free

    def _refill(self) -> None:
        """Bring more work in while a follower runs what is left."""
        if not self._lead.acquire(blocking=False):
            return
        try:
            self._crew.fetcher.refill_at = 0  # set again by a lease that comes back full
            self.wake_one()
            self._crew.exchange()
        except Exception:
            log.exception("looking for work failed")
        finally:
            self._lead.release()

    def _be_leader(self) -> float:
        """Bring work in, or wait for it; return how long to sleep when neither is possible."""
        crew = self._crew
        delay = crew.fetcher.not_before - time.monotonic()
        if delay > 0:
            return min(delay, _NAP)
        if not crew.is_open:
            return 0.1
        if crew.exchange() or self.ready:
            return 0.0
        if crew.fetcher.wanted(crew.room) <= 0:
            return _NAP
        self.is_at_door = True
        try:
            self._wait()
        finally:
            self.is_at_door = False
        return 0.0

    def _follow(self) -> None:
        self._crew.slot_freed()
        # A leader at the store's door carries nothing for us: outcomes leave by a trip of their
        # own.
        if self.is_at_door and len(self._crew.settler):
            self._crew.exchange()
            if self.ready:
                return
        self._nap(_NAP)

    def _nap(self, seconds: float) -> None:
        with self._wake:
            self._sleepers += 1
            try:
                # Counted first, looked second: whoever adds work looks at the count after adding.
                if not self.ready and not self._closing:
                    self._wake.wait(seconds)
            finally:
                self._sleepers -= 1

    def wake_one(self) -> None:
        """Let one sleeping thread look for work, if there may be any."""
        if self._sleepers and (self.ready or not self._lead.locked()):
            with self._wake:
                self._wake.notify()

    def attend(self) -> None:
        """Called by the clock every 50 ms while jobs run: see to stuck work and overdue jobs."""
        if self.ready:
            self.wake_one()
            if time.monotonic() - self._handed_at > PATIENCE and self._all_stuck():
                self._crew.fetcher.hoarded()
                self._crew.give_back(self.take_waiting())
        for seat in list(self._seats):
            if seat.job is not None and time.monotonic() > seat.deadline:
                self._overdue(seat)

    def _all_stuck(self) -> bool:
        return self._busy() >= self.size

    def close(self) -> None:
        """Let threads end as they run out of work; those in a job end after it."""
        self._closing = True
        with self._wake:
            self._wake.notify_all()

    # ---- timeouts

    def _timed_attempt(self, seat: Seat, running: CurrentJob, plan: Plan) -> None:
        crew = self._crew
        outcome = None
        try:
            self._arm(seat, running, plan)
            outcome = copy_context().run(run_attempt, plan, running, crew.name)
        except Overrun:
            pass  # it landed just outside of the attempt
        if not self._disarm(seat):
            return  # given up meanwhile: the outcome was decided without us
        if outcome is None:
            error = JobTimeout()
            outcome = failed(plan, running, error, crew.name)
        crew.end(outcome, plan)

    def _arm(self, seat: Seat, running: CurrentJob, plan: Plan) -> None:
        with seat.lock:
            seat.job, seat.raised = running, False
            seat.deadline = time.monotonic() + (plan.timeout or 0.0)

    def _disarm(self, seat: Seat) -> bool:
        while True:
            try:
                with seat.lock:  # nobody raises in us any more once this is ours
                    seat.job = None
                    return not seat.left
            except Overrun:
                continue

    def _overdue(self, seat: Seat) -> None:
        with seat.lock:
            job = seat.job
            if job is None or time.monotonic() <= seat.deadline:
                return
            job.timed_out = True
            if not seat.raised:
                seat.raised = True
                seat.deadline = time.monotonic() + OVERRUN
                _raise_in(seat.thread, Overrun)
                return
            seat.left = True
            seat.job = None
        self._replace(seat, job)

    def _replace(self, seat: Seat, job: CurrentJob) -> None:
        log.error("job %s (%s) did not stop at its timeout; its thread is left", job.id, job.task)
        job.lost = True
        # The task's rules decide, and may call its user's code: the clock must not wait for that.
        threading.Thread(
            target=self._conclude, args=(job,), name="turnout-end", daemon=True
        ).start()
        self._seats.remove(seat)
        if not self._closing:
            self._seat()

    def _conclude(self, job: CurrentJob) -> None:
        crew = self._crew
        plan = crew.plans[job.task]
        crew.end(failed(plan, job, JobTimeout(), crew.name), plan)


def _raise_in(thread: threading.Thread, kind: type[BaseException]) -> None:
    """Raise an exception in another thread at its next bytecode (PyThreadState_SetAsyncExc)."""
    ident = ctypes.c_ulong(thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(kind))
