"""One worker process: wires the parts, keeps the clock, owns the stop sequence.

    starting -> running -> quiet (TSTP) -------> stopping -> stopped
                   |  +--> retiring (USR2) --------^
                   +------ TERM, INT --------------^

retiring: quiet, and stopping as soon as nothing runs any more, without a grace.

stopping: no more leases; what was leased and not started goes back; running jobs have `grace`
seconds,
and see `current_job().stopping`. Then coroutines are cancelled and their jobs go back; threads
cannot be
stopped, so the epoch is ended, which gives their jobs back and makes whatever they still settle
void. A second INT skips the grace; any number of TERMs are one.

The main thread is the clock. While jobs run it ticks every 50 ms (late outcomes, stuck work,
timeouts), otherwise once a second. Signals interrupt its sleep through a socket pair.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from turnout import events
from turnout.errors import StoreError
from turnout.identity import worker_name
from turnout.worker.aio import AsyncExecutor
from turnout.worker.children import ChildExecutor, check_shared
from turnout.worker.chores import Chores
from turnout.worker.crew import Crew
from turnout.worker.fetcher import NO_ROOM, Fetcher
from turnout.worker.frozen import FrozenTimer
from turnout.worker.joblog import JobLog
from turnout.worker.options import every_queue
from turnout.worker.redelivery import Redelivery
from turnout.worker.settler import Settler
from turnout.worker.threads import ThreadExecutor
from turnout.worker.told import obey

if TYPE_CHECKING:
    from turnout.app import Turnout
    from turnout.worker.board import Row
    from turnout.worker.options import WorkerOptions

log = logging.getLogger("turnout.worker")

TICK = 0.05
IDLE_TICK = 1.0
_LEAD = 0.25  # seconds between the clock's own leases
_WAIT = 1.0  # seconds at the store's door before looking around


class WorkerProcess:
    """A worker in this process; `run` returns when it has stopped."""

    def __init__(
        self,
        app: Turnout,
        options: WorkerOptions,
        *,
        parent: int | None = None,
        row: Row | None = None,
    ) -> None:
        self.app = app
        self.options = options
        self.name = worker_name()
        self._parent = parent
        self._row = row
        settler = Settler(app.events, JobLog(options.log_format), self.name)
        specs = options.queues or every_queue(app.tasks.values())
        self.crew = Crew(app, self.name, settler, Fetcher(app, settler, specs))
        if options.redeliver:
            self.crew.redelivery = Redelivery(options.redeliver)
        self.crew.threads = ThreadExecutor(self.crew, options.threads, self._at_the_door)
        kinds = {plan.kind for plan in self.crew.plans.values()}
        if "loop" in kinds:
            self.crew.loop = AsyncExecutor(self.crew, options.concurrency, self._hungry)
        if "child" in kinds:
            check_shared(app)
            hungry, broken = self._hungry, self._break_off
            self.crew.children = ChildExecutor(self.crew, options.children, hungry, broken)
        self._stops = 0
        self._retiring = False
        self._lead_at = 0.0
        self._failed = False
        self._inbox, self._outbox = socket.socketpair()
        for end in (self._inbox, self._outbox):
            end.setblocking(False)
        # Only where somebody starts another: an embedded worker's process is not ours to end.
        self._timer = None if parent is None else FrozenTimer(options.frozen_after)
        self._chores = Chores(app, self.crew, options)
        self._chores.obey = partial(obey, self)
        self._upkeep = self._chores.table()

    # ---- life

    def run(self) -> int:
        """Work until told to stop; return the exit code, 0 for an orderly end."""
        self.app.store.setup()
        self._chores.open()
        if self._timer is not None:
            self._timer.start()
        self.crew.threads.start()
        if self.crew.loop is not None:
            self.crew.loop.start()
        if self.crew.children is not None:
            self.crew.children.start()
        queues = tuple(spec.name for spec in self.options.queues)
        self.app.events.emit(events.WorkerStarted(self.name, queues))
        log.info("worker %s started", self.name)
        try:
            while not self.crew.stopping:
                self._tick()
        finally:
            self._stop()
            if self._timer is not None:
                self._timer.stop()
            self._inbox.close()
            self._outbox.close()
        return int(self._failed)

    def stop(self, *, hurry: bool = True) -> None:
        """Ask for an orderly stop, from any thread or handler; asked again, for a hasty one."""
        self._stops += hurry or not self._stops
        self.crew.stopping = True
        self.nudge()

    def quiet(self) -> None:
        """Lease nothing more; what runs goes on."""
        self.crew.quiet = True
        self.crew.give_back_waiting()
        self.nudge()

    def retire(self) -> None:
        """Lease nothing more, and stop once nothing runs any more, however long that takes."""
        self._retiring = True
        self.quiet()

    def nudge(self) -> None:
        """End the clock's sleep."""
        try:
            self._outbox.send(b"!")
        except OSError:  # full: it will wake anyway; closed: it has ended
            return

    # ---- the clock

    def _tick(self) -> None:
        self._sleep(TICK if self._is_busy() else IDLE_TICK)
        self._keep_house()
        self._attend()
        if self._parent is not None and os.getppid() != self._parent:
            log.warning("the supervisor is gone: stopping")
            self.stop()
        if self._retiring and not (self.crew.fetcher.is_travelling or self._is_busy()):
            self.stop(hurry=False)

    def _keep_house(self) -> None:
        if self._chores.hears_orders():
            self._upkeep.hasten("heartbeat")
        self._upkeep.run_due()

    def _is_busy(self) -> bool:
        crew = self.crew
        waiting = any(executor.ready for executor in crew.executors.values())
        return bool(crew.running or waiting or len(crew.settler) or crew.suspects)

    def _sleep(self, seconds: float) -> None:
        if self._row is not None:
            self._chores.show(self._row)
        seconds = min(seconds, self._upkeep.until_next())
        readable, _, _ = select.select([self._inbox], [], [], seconds)
        if readable:
            self._inbox.recv(64)

    def _attend(self) -> None:
        """See to what the executors do not notice by themselves."""
        for executor in self.crew.executors.values():
            executor.attend()
        if len(self.crew.settler) and self.crew.fetcher.not_before <= time.monotonic():
            self._flush()
        self.crew.try_suspect()
        self._lead_for_others()

    def _lead_for_others(self) -> None:
        """Lease for the other executors while every thread is in a job, so that none can lead."""
        crew, now = self.crew, time.monotonic()
        if len(crew.executors) == 1 or crew.threads.free() > 0 or now < self._lead_at:
            return
        self._lead_at = now + _LEAD
        if crew.fetcher.not_before <= now and crew.room() > 0:
            crew.exchange()

    def _flush(self) -> None:
        """Settle what waits, leasing nothing: bounds what a crash can run twice to two ticks."""
        crew, epoch = self.crew, self.crew.epoch
        if crew.is_open and crew.fetcher.exchange(epoch, _none, _none).lost:
            crew.lose(epoch)

    def _break_off(self) -> None:
        self._failed = True
        self.stop(hurry=False)

    def _hungry(self) -> None:
        self.crew.slot_freed()
        self.crew.threads.wake_one()

    def _at_the_door(self) -> None:
        """Wait for work, as the leading thread."""
        if self.options.until_empty and self._is_drained():
            self.stop()
            return
        try:
            patience = TICK if self.options.until_empty else _WAIT
            self.app.store.wait(self._chores.info(), patience)
        except StoreError as error:
            log.error("waiting failed: %s", error)  # noqa: TRY400
            time.sleep(TICK)
        if not self.crew.stopping:
            self.nudge()

    def _is_drained(self) -> bool:
        if self._is_busy():
            return False
        served = [one for one in self.app.store.count() if self.crew.fetcher.serves(one)]
        return not any(one.running or (one.ready and not one.paused) for one in served)

    # ---- the end

    def _stop(self) -> None:
        crew = self.crew
        crew.stopping = True
        crew.give_back_waiting()
        crew.give_back(crew.suspects.take_waiting())
        crew.threads.close()
        self.app.store.wake(self._chores.info())
        hasty = self._stops > 1
        deadline = time.monotonic() + (0 if hasty else self.options.grace)
        self._let_finish(deadline)
        if crew.running:
            self._interrupt()
        self._say_goodbye()
        log.info("worker %s stopped", self.name)
        seconds = time.time() - self._chores.started
        self.app.events.emit(events.WorkerStopped(self.name, seconds))

    def _let_finish(self, deadline: float) -> None:
        stops = self._stops
        while self.crew.running and time.monotonic() < deadline and self._stops == stops:
            self._sleep(TICK)
            self._keep_house()
            self._attend()

    def _interrupt(self) -> None:
        left = ", ".join(f"{job.task} {job.id}" for job in list(self.crew.running.values())[:10])
        log.warning("still running at the end of the grace, going back to the queue: %s", left)
        if self.crew.loop is not None:
            self.crew.loop.cancel()
        if self.crew.children is not None:
            self.crew.children.interrupt()
        if self.crew.loop is not None or self.crew.children is not None:
            patience = time.monotonic() + 1.0
            while self.crew.running and time.monotonic() < patience:
                self._sleep(TICK)

    def _say_goodbye(self) -> None:
        crew = self.crew
        if crew.children is not None:  # first: nothing may run on under an epoch that is over
            crew.children.close()
        try:
            self._flush()  # also when nothing waits: a trip under way must not be overtaken
            for job in list(crew.running.values()):
                job.lost = True
            self._chores.goodbye()
        except StoreError as error:
            self._failed = True
            log.error("could not say goodbye, others will take over: %s", error)  # noqa: TRY400
        if crew.loop is not None:
            crew.loop.close()


def _none(_queue: str | None = None) -> int:
    return NO_ROOM


def run_in_thread(worker: WorkerProcess) -> threading.Thread:
    """Start a worker in a thread of this process, for tests and embedding; end it by `stop`."""
    thread = threading.Thread(target=worker.run, name="turnout-worker", daemon=True)
    thread.start()
    return thread
