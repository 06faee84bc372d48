"""What all executors of one worker process share: the epoch, the running jobs, the round trip.

The crew hands leased jobs to the executor of their kind, threads for `def` and an event loop for
`async def`, and knows every job that runs here, so that a heartbeat can tell one to stop. A job
whose task is not registered here goes back with a delay, for workers with newer (or older) code.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from turnout.current import CurrentJob
from turnout.events import JobStarted
from turnout.job import Exchanged, JobId, LeasedJob, Outcome
from turnout.worker.fetcher import NO_ROOM
from turnout.worker.plan import Plan
from turnout.worker.suspects import Suspects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from turnout.app import Turnout
    from turnout.worker.aio import AsyncExecutor
    from turnout.worker.fetcher import Fetcher
    from turnout.worker.redelivery import Redelivery
    from turnout.worker.settler import Settler
    from turnout.worker.threads import ThreadExecutor

log = logging.getLogger("turnout.worker")

UNKNOWN_TASK_DELAY = (5.0, 15.0)


class Crew:
    """The jobs of this process, and the way from the store to its executors and back."""

    def __init__(self, app: Turnout, name: str, settler: Settler, fetcher: Fetcher) -> None:
        self.app = app
        self.name = name
        self.settler = settler
        self.fetcher = fetcher
        self.plans = {task.name: Plan(app, task) for task in list(app.tasks.values())}
        self._kinds = _kinds_by_queue(app)
        self.epoch = secrets.token_hex(12)
        self.is_open = False  # set once a heartbeat has opened the epoch
        self.renew: Callable[[], None]
        self.interrupt: Callable[[], None]
        self._epoch_lock = threading.Lock()
        self.running: dict[JobId, CurrentJob] = {}
        self.stopping = False
        self.quiet = False
        self.unknown: Counter[str] = Counter()
        self.suspects = Suspects()
        self.redelivery: Redelivery | None = None
        self.threads: ThreadExecutor
        self.loop: AsyncExecutor | None = None
        self._announce = app.events.wants(JobStarted)

    # ---- what a running job may ask of its host

    def note(self, job: LeasedJob, progress: str) -> bool:
        """Keep a running job's progress; False when the lease was lost."""
        return self.app.store.note(self.epoch, job, progress)

    def settle_within(self, outcome: Outcome, connection: object) -> bool:
        """Settle a job in the transaction of its own attempt; False when the lease was lost."""
        answer = self.app.store.exchange(self.epoch, [outcome], None, within=connection)
        return outcome.job.id in answer.settled

    # ---- from the store

    def exchange(self) -> int:
        """Make one round trip and hand out what it brought; return how many jobs that was."""
        epoch = self.epoch
        if not self.is_open:
            return 0
        answer = self.fetcher.exchange(epoch, self.room, self._busy)
        if answer.lost:
            self.lose(epoch)
            return 0
        if answer.leased:
            self._hand_out(answer.leased)
        return len(answer.leased)

    def room(self, queue: str | None = None) -> int:
        """Return how many jobs of a queue, or of any, could start now, less those that wait here.

        A queue that holds both kinds of task has as much room as the scarcer kind of slot: what its
        next job will be is not known before it is leased, and a job without a slot would only wait
        here. So slow tasks of the two kinds do best in queues of their own.
        """
        if self.stopping or self.quiet or self.suspects:
            return NO_ROOM
        if self.loop is None:
            return self.threads.free()
        free = {False: self.threads.free(), True: self.loop.free()}
        if queue is None:
            return max(min(free[kind] for kind in kinds) for kinds in self._kinds.values())
        return min(free[kind] for kind in self._kinds.get(queue) or self._kinds["*"])

    def slot_freed(self) -> None:
        """Let the thread at the store's door look again, if it left out a queue without room."""
        if self.fetcher.limited and self.threads.is_at_door:
            self.fetcher.limited = False
            self.interrupt()

    def _busy(self, queue: str) -> int:
        running = sum(1 for job in list(self.running.values()) if job.queue == queue)
        waiting = sum(1 for job in list(self.threads.ready) if job.queue == queue)
        if self.loop is not None:
            waiting += sum(1 for job in list(self.loop.ready) if job.queue == queue)
        return running + waiting

    def _hand_out(self, leased: list[LeasedJob]) -> None:
        slots = self.threads.size if self.loop is None else self.loop.size
        self.fetcher.plan_ahead(leased, slots)
        others = self.suspects.pick(leased)
        if self.suspects:
            self.give_back(others)
            self.give_back_waiting()
            self.try_suspect()
            return
        self._distribute(leased)

    def try_suspect(self) -> None:
        """Run a suspect, once it would be alone and what was given back is back."""
        if self.suspects and self._all_is_settled():
            job = self.suspects.next(len(self.running))
            if job is not None:
                self._distribute([job])
                self.threads.wake_one()

    def _all_is_settled(self) -> bool:
        # In this order: what left the settler is on its way for as long as the fetcher travels,
        # and is back in the settler when that failed. What is for a shard that is away stays out of
        # this: it may take hours.
        return not (self._has_fresh() or self.fetcher.is_travelling or self._has_fresh())

    def _has_fresh(self) -> bool:
        return len(self.settler) > self.settler.away

    def _distribute(self, leased: list[LeasedJob]) -> None:
        asynchronous: list[LeasedJob] = []
        synchronous: list[LeasedJob] = []
        for job in leased:
            plan = self.plans.get(job.task)
            if plan is None:
                self._put_back_unknown(job)
            elif plan.is_async:
                asynchronous.append(job)
            else:
                synchronous.append(job)
        if synchronous:
            self.threads.hand(synchronous)
        if asynchronous and self.loop is not None:
            self.loop.hand(asynchronous)

    def _put_back_unknown(self, job: LeasedJob) -> None:
        if job.task not in self.unknown:
            log.warning("task %r is not known to this worker: its jobs go back to wait", job.task)
        self.unknown[job.task] += 1
        now = self.app.clock()
        later = now + random.uniform(*UNKNOWN_TASK_DELAY)
        self.settler.add(Outcome.released(job, now, run_at=later))

    # ---- around one attempt

    def begin(self, job: LeasedJob, plan: Plan) -> CurrentJob:
        """Note that an attempt starts."""
        running = CurrentJob(job, self, self.app.clock(), plan.timeout)
        self.running[job.id] = running
        if self._announce:
            number = job.attempt + 1
            self.app.events.emit(JobStarted(job.id, job.task, job.queue, number, self.name))
        return running

    def end(self, outcome: Outcome, plan: Plan) -> None:
        """Note that an attempt ended, and let its outcome travel."""
        self.running.pop(outcome.job.id, None)
        took = outcome.finished_at - outcome.started_at
        plan.took(took)
        self.fetcher.took(took)
        if self.redelivery is not None and self._runs_again(outcome):
            self._distribute([outcome.job])
        elif outcome.settled:
            self.settler.confirm([outcome], Exchanged([outcome.job.id], []))
        else:
            self.settler.add(outcome)
        if self.suspects:
            self.suspects.acquit(outcome.job.id)

    def _runs_again(self, outcome: Outcome) -> bool:
        held_back = self.stopping or self.quiet or self.suspects
        return not held_back and self.redelivery is not None and self.redelivery.takes(outcome)

    # ---- back to the store, unrun

    def give_back(self, jobs: Iterable[LeasedJob]) -> None:
        """Return leased jobs unrun, to their old places."""
        now = self.app.clock()
        for job in jobs:
            self.settler.add(Outcome.released(job, now))

    def give_back_waiting(self) -> None:
        """Return everything that was leased and has not started."""
        self.give_back(self.threads.take_waiting())
        if self.loop is not None:
            self.give_back(self.loop.take_waiting())

    def lose(self, epoch: str) -> None:
        """Start over after losing the epoch: what runs is not ours any more and is told so."""
        with self._epoch_lock:
            if epoch != self.epoch:
                return
            self.is_open = False
            self.epoch = secrets.token_hex(12)
        log.error("this worker was taken for dead (epoch %s); its jobs went to others", epoch)
        self.suspects.take_waiting()
        self.threads.take_waiting()
        if self.loop is not None:
            self.loop.take_waiting()
        for job in list(self.running.values()):
            job.lost = True
        self.renew()


def _kinds_by_queue(app: Turnout) -> dict[str, set[bool]]:
    """Return which kinds of task, async or not, each queue holds; under "*" those of all."""
    kinds: dict[str, set[bool]] = defaultdict(set)
    for task in list(app.tasks.values()):
        kinds[task.options.queue].add(task.is_async)
        kinds["*"].add(task.is_async)
    return dict(kinds)
