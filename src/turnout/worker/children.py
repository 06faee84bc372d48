"""Runs isolated tasks in a pool of child processes, and kills those that must end.

    idle -> busy -> idle ...     ended in good order, or
              |-> doomed         past its timeout; cancelled, or its lease lost, and not ended
              |                  within `OVERRUN`; or the grace is over: killed for that reason
              '-> dead           by itself: a crash, which counts against the job alone

One thread serves all children: it reads their channels and their stderr (passed on, its end kept as
evidence), keeps the time, and fills the idle ones from the deque. It never talks to the store; like
the event loop it wakes a worker thread when its slots run empty.

How a killed job ends is told by the task's rules, whose `then` is its user's code: that part runs
in a thread of its own, for this one must not wait.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from turnout.errors import ConfigError
from turnout.store.memory import MemoryStore
from turnout.worker.attempt import OVERRUN
from turnout.worker.brood import conclude
from turnout.worker.child import server
from turnout.worker.fetcher import PATIENCE
from turnout.worker.pool import Pool
from turnout.worker.wire import Show, Tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from turnout.app import Turnout
    from turnout.job import LeasedJob
    from turnout.worker.brood import Child
    from turnout.worker.crew import Crew
    from turnout.worker.wire import Died, Ended, Shown

log = logging.getLogger("turnout.worker")

_LAST_WORDS = 0.5  # seconds that a coroutine gets to end at the end of the grace
_AFTER_CLOSE = 5.0
_ANSWER = 0.5  # seconds that children have to tell where their jobs stand


def check_shared(app: Turnout) -> None:
    """Raise ConfigError when isolated tasks would see nothing but a copy of the store."""
    names = ", ".join(sorted(n for n, t in app.tasks.items() if t.options.isolate is not None))
    if names and isinstance(app.store, MemoryStore):
        msg = (
            f"isolate= needs a store that processes can share, and memory: is of one process: use "
            f"sqlite:///jobs.db or a server for {names}"
        )
        raise ConfigError(msg)


class ChildExecutor:
    """The child processes of one worker process. To be made before it has threads: it forks."""

    def __init__(
        self, crew: Crew, size: int, hungry: Callable[[], None], broken: Callable[[], None]
    ) -> None:
        self.size = size
        self.ready: deque[LeasedJob] = deque()
        self._crew = crew
        self._hungry = hungry
        self._broken = broken
        self._handed_at = 0.0
        self._idle: deque[Child] = deque()
        self._busy = 0
        self._concluded: deque[Child] = deque()
        self._interrupted = self._closing = self._curious = False
        self._shown: SimpleQueue[Shown] = SimpleQueue()
        self._pool = Pool(server(crew.app, crew.name), self)
        self._thread = threading.Thread(target=self._serve, name="turnout-children", daemon=True)

    def start(self) -> None:
        """Start the thread, and as many children as run at once."""
        self._pool.want(self.size)
        self._thread.start()

    # ---- for other threads

    def free(self) -> int:
        """Return how many more jobs could start now, less those that wait here."""
        return self.size - self._busy - len(self.ready)

    def hand(self, jobs: Iterable[LeasedJob]) -> None:
        """Add leased jobs: one wake for the whole batch."""
        self._handed_at = time.monotonic()
        self.ready.extend(jobs)
        self._pool.nudge()

    def take_waiting(self) -> list[LeasedJob]:
        """Take back what has not started."""
        taken: list[LeasedJob] = []
        try:
            while True:
                taken.append(self.ready.popleft())
        except IndexError:
            return taken

    def is_moving(self) -> bool:
        """True while a job waits, starts or runs here."""
        return bool(self.ready or self._busy)

    def heed(self) -> None:
        """Look at the flags of the running jobs: one of them was set."""
        self._pool.nudge()

    def attend(self) -> None:
        """Called by the clock every 50 ms while jobs run: see to flags and to stuck work."""
        if self.ready and time.monotonic() - self._handed_at > PATIENCE and self._busy >= self.size:
            self._crew.fetcher.hoarded()
            self._crew.give_back(self.take_waiting())
        if any(child.has_news() for child in list(self._pool.children.values())):
            self._pool.nudge()

    def interrupt(self) -> None:
        """End what still runs: coroutines are cancelled first, the rest is killed at once."""
        self._interrupted = self._pool.is_closing = True
        self._pool.nudge()

    def close(self) -> None:
        """Kill the children and end the nursery; jobs that still run are given back, unblamed."""
        self._interrupted = self._closing = self._pool.is_closing = True
        self._pool.nudge()
        if self._thread.is_alive():
            self._thread.join(_AFTER_CLOSE)
        self._pool.close()
        if not self._thread.is_alive():
            self._pool.release()

    def standing(self) -> dict[str, str]:
        """Return where the jobs in the children stand; who does not answer soon is left out.

        A child answers beside its job, unless something holds its interpreter.
        """
        answers: SimpleQueue[Shown] = SimpleQueue()
        self._shown, busy = answers, self._busy
        self._curious = True
        self._pool.nudge()
        found: dict[str, str] = {}
        deadline = time.monotonic() + _ANSWER
        with suppress(Empty):
            while len(found) < busy:
                one = answers.get(timeout=max(deadline - time.monotonic(), 0.0))
                found[one.job] = one.stack
        return found

    # ---- the thread

    def _serve(self) -> None:
        while not (self._closing and not self._busy):
            try:
                self._turn()
            except Exception:
                # The jobs in the children must not be left to themselves by an error of ours.
                log.exception("looking after the child processes failed")
                time.sleep(0.1)

    def _turn(self) -> None:
        before = self._busy
        self._pool.turn()
        while self._concluded:
            self._concluded.popleft()
            self._busy -= 1
        ended = self._busy < before
        self._keep_time()
        self._ask_around()
        self._start_some()
        if ended and len(self.ready) * 4 <= self.size:
            self._hungry()

    def _start_some(self) -> None:
        while self._idle and not self._interrupted:
            self._busy += 1  # first: what left the deque must be seen to be here
            try:
                job = self.ready.popleft()
            except IndexError:
                self._busy -= 1
                return
            plan = self._crew.plans[job.task]
            child = self._idle.popleft()
            child.begin(self._crew.begin(job, plan), plan, self._crew.epoch)

    def _keep_time(self) -> None:
        now = time.monotonic()
        for child in list(self._pool.children.values()):
            if child.job is None:
                continue
            for flag in child.news():
                child.wire.post(Tell(flag))
                if flag in ("cancelled", "lost"):
                    child.doom(flag, now + OVERRUN)
            if self._interrupted and child.is_news("interrupt"):
                child.wire.post(Tell("interrupt"))
                child.doom("stopped", now + (_LAST_WORDS if child.plan.is_async else 0.0))
            if now >= child.kill_at:
                child.kill_at = float("inf")
                child.fate = child.sentence
                self._pool.kill(child)

    def _ask_around(self) -> None:
        if self._curious:
            self._curious = False
            for child in self._pool.children.values():
                if child.job is not None:
                    child.wire.post(Show())

    # ---- what the pool tells

    def born(self, child: Child) -> None:
        """Have one more to give work to."""
        self._idle.append(child)

    def ended(self, child: Child, message: Ended) -> None:
        """Let an outcome travel, and the child take the next job."""
        job, plan = child.end()
        self._busy -= 1
        if not child.is_leaving and child.fate is None:
            self._idle.append(child)
        self._crew.end(message.outcome(job.leased), plan)

    def shown(self, message: Shown) -> None:
        """Hand on where a job stands to who asked."""
        self._shown.put(message)

    def died(self, child: Child, death: Died | None) -> None:
        """Conclude the job that a child left behind, if it did."""
        if child in self._idle:
            self._idle.remove(child)
        if child.job is not None:
            ending = threading.Thread(
                target=self._conclude, args=(child, death), name="turnout-end", daemon=True
            )
            ending.start()

    def _conclude(self, child: Child, death: Died | None) -> None:
        try:
            if death is None:
                child.fate = child.fate or "stopped"  # nobody's fault but the nursery's
            self._crew.end(conclude(child, death, self._crew), child.plan)
        finally:
            self._concluded.append(child)
            self._pool.nudge()

    def orphaned(self) -> None:
        """Stop: this process cannot fork another nursery, it has threads by now."""
        if not self._closing:
            log.error("the nursery of this worker's child processes is gone: the worker stops")
            self._interrupted = self._closing = True
            self._broken()
