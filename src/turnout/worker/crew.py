"""What all executors of one worker process share: the epoch, the running jobs, the round trip.

The crew hands leased jobs to the executor of their kind, threads for `def`, an event loop for
`async def`, child processes for the isolated of both, and knows every job that runs here, so that a
heartbeat can tell one to stop. A job of a task unknown here goes back with a delay, for others.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Protocol

from turnout.current import CurrentJob
from turnout.events import JobStarted
from turnout.job import Exchanged, JobId, LeasedJob, Outcome
from turnout.lanes import base_of
from turnout.worker.fetcher import NO_ROOM
from turnout.worker.gate import Gate
from turnout.worker.plan import Kind, Plan, kind_of
from turnout.worker.suspects import Suspects

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterable

    from turnout.app import Turnout
    from turnout.worker.aio import AsyncExecutor
    from turnout.worker.children import ChildExecutor
    from turnout.worker.fetcher import Fetcher
    from turnout.worker.redelivery import Redelivery
    from turnout.worker.settler import Settler
    from turnout.worker.threads import ThreadExecutor

log = logging.getLogger("turnout.worker")

UNKNOWN_TASK_DELAY = (5.0, 15.0)


class Executor(Protocol):
    """What every executor can do for the crew and the clock."""

    size: int
    ready: deque[LeasedJob]

    def free(self) -> int:
        """Return how many more jobs could start now, less those that wait here."""
        ...

    def hand(self, jobs: Iterable[LeasedJob]) -> None:
        """Take leased jobs, from any thread."""
        ...

    def take_waiting(self) -> list[LeasedJob]:
        """Take back what has not started."""
        ...

    def is_moving(self) -> bool:
        """True while a job may be on its way here or starting; asked by who stops the worker."""
        ...

    def attend(self) -> None:
        """See to stuck work and overdue jobs; called every 50 ms while jobs run."""
        ...


class Crew:
    """The jobs of this process, and the way from the store to its executors and back."""

    def __init__(
        self, app: Turnout, name: str, settler: Settler, fetcher: Fetcher, *, lease: float = 30.0
    ) -> None:
        self.app = app
        self.name = name
        self.settler = settler
        self.fetcher = fetcher
        self.gate = fetcher.gate = Gate(self, lease)
        self.plans = {task.name: Plan(app, task) for task in list(app.tasks.values())}
        self._kinds = _kinds_by_queue(app)
        self.epoch = secrets.token_hex(12)
        self.is_open = False  # set once a heartbeat has opened the epoch
        self.renew: Callable[[], None]
        self.interrupt: Callable[[], None]
        self.epoch_lock = threading.Lock()
        self.running: dict[JobId, CurrentJob] = {}
        self.stopping = False
        self.quiet = False
        self.unknown: Counter[str] = Counter()
        self.suspects = Suspects()
        self.redelivery: Redelivery | None = None
        self.threads: ThreadExecutor
        self.loop: AsyncExecutor | None = None
        self.children: ChildExecutor | None = None
        self._announce = app.events.wants(JobStarted)

    @property
    def executors(self) -> dict[Kind, Executor]:
        """The executors of this process, by the kind of task that they run."""
        found: dict[Kind, Executor] = {"thread": self.threads}
        if self.loop is not None:
            found["loop"] = self.loop
        if self.children is not None:
            found["child"] = self.children
        return found

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
        elif answer.leased and epoch == self.epoch:  # or they went to others meanwhile
            self._hand_out(answer.leased)
        return len(answer.leased)

    def room(self, queue: str | None = None) -> int:
        """Return how many jobs of a queue, or of any, could start now, less those that wait here.

        A queue that holds several kinds of task has as much room as the scarcest kind of slot: what
        its next job will be is not known before it is leased, and a job without a slot would only
        wait here. So slow tasks of different kinds do best in queues of their own.
        """
        if self.stopping or self.quiet or self.suspects:
            return NO_ROOM
        if self.loop is None and self.children is None:
            return self.threads.free()
        free = {kind: executor.free() for kind, executor in self.executors.items()}
        if queue is None:
            return max(min(free[kind] for kind in kinds) for kinds in self._kinds.values())
        return min(free[kind] for kind in self._kinds.get(queue) or self._kinds["*"])

    def slot_freed(self) -> None:
        """Let the thread at the store's door look again, if it left out a queue without room."""
        if self.fetcher.limited and self.threads.is_at_door:
            self.fetcher.limited = False
            self.interrupt()

    def _busy(self, queue: str) -> int:
        names = [job.queue for job in list(self.running.values())]
        names += [job.queue for one in self.executors.values() for job in list(one.ready)]
        return [base_of(name) for name in names].count(queue)

    def _hand_out(self, leased: list[LeasedJob]) -> None:
        if self.stopping:
            self.give_back(leased)
            return
        slots = max(executor.size for executor in self.executors.values())
        self.fetcher.plan_ahead(leased, slots)
        others = self.suspects.pick(leased, self._is_dangerous)
        if self.suspects:
            self.give_back(others)
            self.give_back_waiting()
            self.try_suspect()
            return
        self._distribute(self.gate.admit(leased))

    def try_suspect(self) -> None:
        """Run a suspect, once it would be alone and what was given back is back."""
        if self.suspects and self._all_is_settled():
            job = self.suspects.next(len(self.running))
            if job is not None and self.gate.admit([job]):
                self._distribute([job])
                self.threads.wake_one()
            elif job is not None:
                self.suspects.acquit(job.id)  # a limit sent it back

    def _all_is_settled(self) -> bool:
        # In this order: what left the settler is on its way for as long as the fetcher travels, and
        # is back there when that failed. What is for a shard that is away may take hours: left out.
        return not (self.has_fresh() or self.fetcher.is_travelling or self.has_fresh())

    def has_fresh(self) -> bool:
        """True while outcomes wait here for a store that can be reached."""
        return len(self.settler) > self.settler.away

    def _distribute(self, leased: list[LeasedJob]) -> None:
        sorted_out: dict[Kind, list[LeasedJob]] = {}
        for job in leased:
            plan = self.plans.get(job.task)
            if plan is None:
                self._put_back_unknown(job)
            else:
                sorted_out.setdefault(plan.kind, []).append(job)
        for kind, jobs in sorted_out.items():
            self.executors[kind].hand(jobs)

    def _is_dangerous(self, job: LeasedJob) -> bool:
        """Tell whether a job could take this process with it: an isolated one dies alone."""
        plan = self.plans.get(job.task)
        return plan is None or plan.isolate is None

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
        took = outcome.finished_at - outcome.started_at
        plan.took(took)
        self.fetcher.took(took)
        if self.redelivery is not None and self._runs_again(outcome):
            self.running.pop(outcome.job.id, None)
            self._distribute([outcome.job])
        elif outcome.settled:
            self.running.pop(outcome.job.id, None)
            self.gate.ended([outcome])
            self.settler.confirm([outcome], Exchanged([outcome.job.id], []))
        else:
            # In this order: who stops looks at what runs first, and then at what waits here.
            self.settler.add(outcome)
            held = self.running.get(outcome.job.id)
            if held is not None and held.leased.fence == outcome.job.fence:  # or it is here again
                self.running.pop(outcome.job.id, None)
        if self.suspects.on_trial is not None:
            self.suspects.acquit(outcome.job.id)

    def _runs_again(self, outcome: Outcome) -> bool:
        held_back = self.stopping or self.quiet or self.suspects
        return not held_back and self.redelivery is not None and self.redelivery.takes(outcome)

    # ---- back to the store, unrun

    def give_back(self, jobs: Iterable[LeasedJob]) -> None:
        """Return leased jobs unrun, to their old places."""
        now = self.app.clock()
        for job in jobs:
            self.suspects.acquit(job.id)  # or nothing would be leased here until it ended elsewhere
            self.settler.add(Outcome.released(job, now))

    def holds_jobs(self) -> bool:
        """True while a leased job is here whose outcome does not travel yet.

        In this order: a job moves from an executor to what runs, and from there to the settler.
        """
        return any(one.is_moving() for one in self.executors.values()) or bool(self.running)

    def give_back_waiting(self) -> None:
        """Return everything that was leased and has not started."""
        for executor in self.executors.values():
            self.give_back(executor.take_waiting())

    def lose(self, epoch: str) -> None:
        """Start over after losing the epoch: what runs is not ours any more and is told so."""
        with self.epoch_lock:
            if epoch != self.epoch:
                return
            self.is_open = False
            self.epoch = secrets.token_hex(12)
        log.error("this worker was taken for dead (epoch %s); its jobs went to others", epoch)
        self.suspects.take_waiting()
        for executor in self.executors.values():
            for unrun in executor.take_waiting():
                self.suspects.acquit(unrun.id)
                self.gate.drop(unrun.id, started=False)
        for job in list(self.running.values()):
            job.lost = True
            self.settler.orphan(job.leased)
        self.renew()


def _kinds_by_queue(app: Turnout) -> dict[str, set[Kind]]:
    """Return which kinds of task each queue holds; under "*" those of all."""
    kinds: dict[str, set[Kind]] = defaultdict(set)
    for task in list(app.tasks.values()):
        kinds[task.options.queue].add(kind_of(task))
        kinds["*"].add(kind_of(task))
    return dict(kinds)
