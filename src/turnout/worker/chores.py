"""What a worker does besides running jobs: it lives, takes back from the dead, deletes the old.

One heartbeat speaks for the whole process, from a thread of its own (`heart.py`). What it brings
back (a lost epoch, jobs to stop) is carried out in that thread.
"""

from __future__ import annotations

import logging
import math
import os
import time
from typing import TYPE_CHECKING, Literal

import turnout
from turnout.errors import StoreError
from turnout.identity import host, is_alive
from turnout.job import WorkerInfo
from turnout.store.protocol import HearsOrders
from turnout.worker import stacks
from turnout.worker.board import Stage
from turnout.worker.clock import StoreClock
from turnout.worker.heart import Heart
from turnout.worker.memory import rss
from turnout.worker.relay import Relay
from turnout.worker.replayer import Replayer
from turnout.worker.upkeep import Chore, Upkeep
from turnout.worker.yielding import Yielding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from turnout.app import Turnout
    from turnout.job import Orders, Reaped
    from turnout.worker.board import Row
    from turnout.worker.crew import Crew
    from turnout.worker.options import WorkerOptions

log = logging.getLogger("turnout.worker")

PRUNE_EVERY = 60.0
_WEIGH_EVERY = 1.0
_HOLDING_BACK = 0.05
WorkerState = Literal["running", "quiet", "stopping", "stopped"]


class Chores:
    """The chores of one worker process."""

    def __init__(self, app: Turnout, crew: Crew, options: WorkerOptions) -> None:
        self._app = app
        self._crew = crew
        self._options = options
        self._host = host()
        self._on_crash: dict[str, str] = {
            name: plan.on_crash for name, plan in crew.plans.items() if plan.on_crash != "rerun"
        }
        self.started = time.time()
        self.heart = Heart(self.heartbeat, options.heartbeat, options.frozen_after)
        self.obey: Callable[[Orders], None] = _ignore
        self._seen = 0.0  # monotonic: the store answered a heartbeat
        self._rss: int | None = None
        self._weighed = 0.0
        self._clock = StoreClock(app)
        self._relay = None if app.config.outbox is None else Relay(app)
        self._replayer = Replayer(app, crew.name)
        self._replayer.is_wanted = lambda: not (crew.stopping or crew.quiet)
        self._yielding = Yielding(crew)
        if self._yielding.is_wanted:
            crew.fetcher.yielding = self._yielding
        crew.renew = self._renew
        crew.interrupt = lambda: app.store.wake(self.info())

    def table(self) -> Upkeep:
        """Return what is to be done, and how often."""
        every = self._options.heartbeat
        return Upkeep(
            [
                Chore("limits", every, self.hold_on),
                Chore("metrics", every, self.record),
                Chore("reap", every, self.reap),
                Chore("prune", PRUNE_EVERY, self.prune),
                self._replayer.chore,
                Chore("stacks", math.inf, self.show_stacks, due=math.inf),
            ]
        )

    def info(self, state: WorkerState | None = None) -> WorkerInfo:
        """Return what this worker tells the store of itself."""
        crew = self._crew
        slots = self._options.threads
        if crew.loop is not None:
            slots += self._options.concurrency
        if crew.children is not None:
            slots += crew.children.size
        return WorkerInfo(
            epoch=crew.epoch,
            name=crew.name,
            host=self._host,
            pid=os.getpid(),
            queues=crew.fetcher.named,
            concurrency=slots,
            started_at=self.started,
            running=len(crew.running),
            state=state or self._state,
            version=turnout.__version__,
            rss=self._rss,
            on_crash=self._on_crash,
            slowed=self._yielding.slowed(),
        )

    def open(self) -> None:
        """Open the first epoch, and learn the store's time before any job runs by it."""
        self.heartbeat()
        self._workers()
        if self._relay is not None:
            self._relay.start()
        self._yielding.start()

    def hold_on(self) -> None:
        """Renew what the jobs that run here hold of their limits."""
        if self._crew.gate.holds:
            self._crew.gate.renew()

    def record(self) -> None:
        """Send what was measured; a store that fails gets the same again at the next turn."""
        measures = self._crew.settler.measures
        if measures is None:
            return
        try:
            measures.flush(self._app.store)
        except StoreError as error:
            log.warning("what was measured waits for the store: %s", error)

    def heartbeat(self) -> None:
        """Renew the epoch, and carry out what comes back."""
        self._weigh()
        crew, info = self._crew, self.info()
        asked = self._clock.asks()
        orders = self._app.store.heartbeat(info, ttl=self._options.dead_after)
        self._seen = time.monotonic()
        if orders.lost:
            crew.lose(info.epoch)  # which opens the next one, by this very function
            return
        self._clock.beat(info.epoch, asked)
        with crew.epoch_lock:
            crew.is_open |= crew.epoch == info.epoch  # or it was lost meanwhile
        for job_id in orders.gone:
            job = crew.running.get(job_id)
            if job is not None:
                job.lost = True
        for job_id in orders.cancel:
            job = crew.running.get(job_id)
            if job is not None:
                job.cancelled = True
        if orders.cancel and crew.loop is not None:
            crew.loop.cancel(orders.cancel)
        if orders.cancel and crew.children is not None:
            crew.children.heed()
        self.obey(orders)

    def show_stacks(self) -> None:
        """Keep in the store where the running jobs stand; their children may take a moment."""
        stacks.tell(self._crew)

    def show(self, row: Row) -> None:
        """Write where this process stands to its row of the supervisor's board."""
        now = time.monotonic()
        if now - self._weighed > _WEIGH_EVERY:
            self._weigh()
        row.beat, row.seen, row.rss = now, self._seen, self._rss or 0
        row.running, row.done = len(self._crew.running), self._crew.fetcher.jobs
        if self._crew.is_open:
            row.stage = Stage[self._state.upper()]

    def _weigh(self) -> None:
        self._rss, self._weighed = rss(), time.monotonic()

    @property
    def _state(self) -> WorkerState:
        crew = self._crew
        return "stopping" if crew.stopping else "quiet" if crew.quiet else "running"

    def hears_orders(self) -> bool:
        """Tell whether somebody rang with orders for this worker; costs no round trip."""
        store = self._app.store
        return isinstance(store, HearsOrders) and store.ordered(self.info())

    def _renew(self) -> None:
        try:
            self.heartbeat()
        except StoreError as error:
            log.error("the new epoch waits for the store: %s", error)  # noqa: TRY400

    def wait(self, seconds: float) -> None:
        """Wait until there may be work. Raises StoreError.

        Ready jobs that hold back for others would end the store's wait at once, again and again.
        """
        if self._crew.fetcher.limited and self._yielding.slowed():
            time.sleep(min(seconds, _HOLDING_BACK))
        else:
            self._app.store.wait(self.info(), seconds)

    def goodbye(self) -> None:
        """End the epoch: what is still held goes back, and nothing settles under it any more."""
        self.heart.stop()
        self._yielding.stop()
        if self._relay is not None:
            self._relay.stop()
        self._clock.release()
        self._replayer.let_go()
        self.record()
        self._app.store.heartbeat(self.info("stopped"), ttl=self._options.dead_after)

    def reap(self) -> None:
        """Take back the jobs of the dead: past their deadline, or seen dead on this machine."""
        store = self._app.store
        if time.monotonic() - self._seen > self._options.dead_after / 2:
            self.heartbeat()  # or whoever was held up would take himself for dead
        for worker in self._workers():
            if worker.host == self._host and not is_alive(worker.pid):
                self._took(store.reap(epoch=worker.epoch))
        self._took(store.reap())

    def _workers(self) -> Sequence[WorkerInfo]:
        before = self._clock.beaten
        workers = self._app.store.workers()
        for worker in workers:
            self._clock.learn(worker, self._options.dead_after, before)
        return workers

    def _took(self, reaped: Sequence[Reaped]) -> None:
        for job in reaped:
            told = (job.id, job.task, job.state, job.crashes)
            log.warning("job %s (%s) is %s again: its worker died (%d times so far)", *told)
        if self._crew.settler.measures is not None:
            self._crew.settler.measures.crashed(reaped, self._app.clock())

    def prune(self) -> None:
        """Delete what is past its keeping time."""
        self._app.store.prune(self._app.config.retention())


def _ignore(_orders: Orders) -> None:
    """Stand in for `obey` until the process sets it."""
