"""The relay: moves what has committed in the outbox to the store where it belongs.

    lease from the outbox -> enqueue under the same ids -> settle, with the next lease

A relay is a worker of the outbox, with an epoch and a heartbeat of its own; any number of them
share the work. While the store is away it keeps its lease and tries again; killed, its jobs go to
another relay, who enqueues known ids again, which makes no double.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from typing import TYPE_CHECKING

import msgspec

import turnout
from turnout.errors import EnqueueError, StoreBusy, StoreError, StoreUnavailable
from turnout.events import JobRefused
from turnout.identity import host, is_alive, worker_name
from turnout.ids import new_id
from turnout.job import AttemptRecord, Outcome, State, Trail, Want, WorkerInfo
from turnout.outbox import QUEUE, unwrapped

if TYPE_CHECKING:
    from turnout.app import Turnout
    from turnout.job import LeasedJob, NewJob
    from turnout.store.protocol import Store

log = logging.getLogger("turnout.relay")

BATCH = 500
_BEAT, _TTL = 2.0, 10.0  # seconds
_REST = 0.05, 2.0  # seconds between tries of a store that is away: the first, the longest
_WAIT = 1.0


class Relay:
    """Moves jobs until told to stop, from a thread of its own or the caller's."""

    def __init__(self, app: Turnout) -> None:
        self._app = app
        self._outbox: Store = app.outbox
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._outcomes: list[Outcome] = []
        self._name = worker_name()
        self._started = time.time()
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._epoch = str(new_id())
        self._beat_at = 0.0

    # ---- life

    def start(self) -> None:
        """Run in a thread."""
        self._thread = threading.Thread(target=self.run, name="turnout-relay", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End after the batch at hand, and wait for that for `timeout` seconds."""
        self._stop.set()
        self._outbox.wake(self._info())
        if self._thread is not None:
            self._thread.join(timeout)

    def run(self) -> None:
        """Move jobs until `stop`; an outbox that is away is tried again for ever."""
        self._started, pause = time.time(), _REST[0]
        while not self._stop.is_set():
            try:
                self._turn()
                pause = _REST[0]
            except StoreError as error:
                log.error("the relay waits for the outbox: %s", error)  # noqa: TRY400
                pause = self._rest(pause)
        self._end()

    def _end(self) -> None:
        try:
            if self._outcomes:
                self._outbox.exchange(self._epoch, self._outcomes, None)
            self._outbox.heartbeat(self._info("stopped"), ttl=_TTL)
        except StoreError as error:
            log.error("the relay could not say goodbye, another takes over: %s", error)  # noqa: TRY400

    def _rest(self, pause: float) -> float:
        """Wait, and return how long to wait the next time."""
        self._stop.wait(pause * random.uniform(0.75, 1.25))
        return min(pause * 2, _REST[1])

    # ---- one turn

    def _turn(self) -> None:
        self._beat()
        want = Want(((QUEUE, BATCH),), BATCH)
        answer = self._outbox.exchange(self._epoch, self._outcomes, want)
        self._outcomes = []
        if answer.lost:
            self._begin_epoch()
        elif answer.leased:
            self._move(answer.leased)
        else:
            self._outbox.wait(self._info(), _WAIT)

    def _beat(self) -> None:
        """Renew the epoch when it is time, and take back what dead relays held."""
        now = time.monotonic()
        if now < self._beat_at:
            return
        if self._outbox.heartbeat(self._info(), ttl=_TTL).lost:
            self._begin_epoch()
            self._outbox.heartbeat(self._info(), ttl=_TTL)
        self._beat_at = now + _BEAT
        here = host()
        for worker in self._outbox.workers():
            if worker.host == here and not is_alive(worker.pid):
                self._outbox.reap(epoch=worker.epoch)
        self._outbox.reap()

    def _info(self, state: str = "running") -> WorkerInfo:
        return WorkerInfo(
            epoch=self._epoch,
            name=self._name,
            host=host(),
            pid=os.getpid(),
            queues=(QUEUE,),
            concurrency=BATCH,
            started_at=self._started,
            state="stopped" if state == "stopped" else "running",
            version=turnout.__version__,
        )

    def _move(self, leased: list[LeasedJob]) -> None:
        began, pause = time.time(), _REST[0]
        jobs, broken = _read(leased)
        for job, error in broken:
            self._outcomes.append(self._dead(job, error, began))
        while not self._stop.is_set():
            try:
                self._enqueue(jobs, began)
            except (StoreUnavailable, StoreBusy) as error:
                log.warning("%d jobs of the outbox wait for their store: %s", len(jobs), error)
                pause = self._rest(pause)
                self._beat()
            else:
                return

    def _enqueue(self, jobs: list[tuple[LeasedJob, NewJob]], began: float) -> None:
        try:
            answers = self._app.store.enqueue([new for _, new in jobs]) if jobs else []
        except (StoreUnavailable, StoreBusy):
            raise
        except (StoreError, EnqueueError) as error:
            if len(jobs) > 1:
                while jobs:  # one of them is at fault; those that went are not tried again
                    self._enqueue(jobs[:1], began)
                    del jobs[0]
                return
            self._outcomes.append(self._dead(jobs[0][0], error, began))
            return
        for (job, new), answer in zip(jobs, answers, strict=True):
            if answer is None:
                self._refused(new)
            self._outcomes.append(Outcome.succeeded(job, began, time.time(), keep=0.0))

    def _refused(self, new: NewJob) -> None:
        why = "its unique key is held by another job"
        log.error("job %s (%s) of the outbox was refused: %s", new.id, new.task, why)
        self._app.events.emit(JobRefused(new.id, new.task, new.queue, why))

    def _dead(self, job: LeasedJob, error: Exception, began: float) -> Outcome:
        log.error("job %s (%s) stays in the outbox, dead: %s", job.id, job.task, error)
        entry = AttemptRecord(
            attempt=job.attempt + 1,
            started_at=began,
            finished_at=time.time(),
            worker=self._name,
            outcome="dead",
            error=type(error).__qualname__,
            message=str(error),
        )
        trail = msgspec.json.encode(Trail(attempts=(entry,))).decode()
        return Outcome.ended(job, State.DEAD, entry, trail, reason="its store refused it")


def _read(
    leased: list[LeasedJob],
) -> tuple[list[tuple[LeasedJob, NewJob]], list[tuple[LeasedJob, EnqueueError]]]:
    """Return the jobs that an outbox holds, and those that are none, with why."""
    jobs: list[tuple[LeasedJob, NewJob]] = []
    broken: list[tuple[LeasedJob, EnqueueError]] = []
    for job in leased:
        try:
            jobs.append((job, unwrapped(job)))
        except EnqueueError as error:
            broken.append((job, error))
    return jobs, broken
