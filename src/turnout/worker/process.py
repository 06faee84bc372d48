"""One worker process: wires the parts and keeps the clock; how it stops is in `ending.py`.

    starting -> running -> quiet (TSTP) -------> stopping -> stopped
                   |  +--> retiring (USR2) --------^
                   +------ TERM, INT --------------^

stopping: no more leases, and what `ending.py` says.

retiring: quiet, and stopping as soon as nothing runs any more, without a grace.

The main thread is the clock. While jobs run it ticks every 50 ms (late outcomes, stuck work,
timeouts), otherwise once a second. Signals interrupt its sleep through a socket pair.
"""

from __future__ import annotations

import logging
import os
import random
import select
import socket
import threading
import time
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from turnout import events
from turnout.errors import StoreError, StoreUnavailable
from turnout.identity import worker_name
from turnout.worker.aio import AsyncExecutor
from turnout.worker.children import ChildExecutor, check_shared
from turnout.worker.chores import Chores
from turnout.worker.crew import Crew
from turnout.worker.ending import Ending
from turnout.worker.fetcher import NO_ROOM, Fetcher, pause_after
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
        job_log = JobLog(options.log_format)
        settler = Settler(app.events, job_log, self.name, measures=options.metrics)
        fetcher = Fetcher(app, settler, options.queues or every_queue(app.tasks.values()))
        self.crew = Crew(app, self.name, settler, fetcher, lease=options.dead_after)
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
        self.stops = 0
        self._retiring = False
        self._lead_at = 0.0
        self.has_failed = False
        self._inbox, self._outbox = socket.socketpair()
        for end in (self._inbox, self._outbox):
            end.setblocking(False)
        # Only where somebody starts another: an embedded worker's process is not ours to end.
        self._timer = None if parent is None else FrozenTimer(options.frozen_after)
        self.chores = Chores(app, self.crew, options)
        self.chores.obey = partial(obey, self)
        self._upkeep = self.chores.table()

    # ---- life

    def run(self) -> int:
        """Work until told to stop; return the exit code, 0 for an orderly end."""
        try:
            if self._arrive():
                self._work()
        finally:
            self._inbox.close()
            self._outbox.close()
        return int(self.has_failed)

    def _arrive(self) -> bool:
        """Open the first epoch; False when told to stop before. A place waits for its store.

        Dying of a store that is away would have the place left empty for longer and longer, also
        once it is back.
        """
        for failures in count(1):
            try:
                self.app.store.setup()
                self.chores.open()
            except StoreUnavailable as error:
                if self._parent is None:
                    raise
                if not self._wait_for_store(failures, error):
                    return False
            else:
                return True
        raise AssertionError  # counting has no end

    def _wait_for_store(self, failures: int, error: StoreUnavailable) -> bool:
        pause = pause_after(failures, random.Random())
        log.error("the store failed (%s); trying again in %.1f s", error, pause)
        until = time.monotonic() + pause
        while (left := until - time.monotonic()) > 0 and not self.crew.stopping:
            self._look_around(min(left, IDLE_TICK))
            self._heed_parent()
        return not self.crew.stopping

    def _work(self) -> None:
        if self._timer is not None:
            self._timer.start()
        self.chores.heart.start()
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
            Ending(self).run()
            self.chores.heart.stop()
            if self._timer is not None:
                self._timer.stop()

    def stop(self, *, hurry: bool = True) -> None:
        """Ask for an orderly stop, from any thread or handler; asked again, for a hasty one."""
        self.stops += hurry or not self.stops
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
        self.sleep(TICK if self._is_busy() else IDLE_TICK)
        self.keep_house()
        self.attend()
        self._heed_parent()
        if self._retiring and not (self.crew.fetcher.is_travelling or self._is_busy()):
            self.stop(hurry=False)

    def _heed_parent(self) -> None:
        if self._parent is not None and os.getppid() != self._parent:
            log.warning("the supervisor is gone: stopping")
            self.stop()

    def keep_house(self) -> None:
        """Do the chores that are due."""
        if self.chores.hears_orders():
            self.chores.heart.hasten()
        self._upkeep.run_due()

    def hasten(self, chore: str) -> None:
        """Have a chore done now, from any thread."""
        self._upkeep.hasten(chore)
        self.nudge()

    def _is_busy(self) -> bool:
        crew = self.crew
        waiting = any(executor.ready for executor in crew.executors.values())
        return bool(crew.running or waiting or len(crew.settler) or crew.suspects)

    def sleep(self, seconds: float) -> None:
        """Wait for that long, until a chore is due, or for a nudge."""
        self._look_around(min(seconds, self._upkeep.until_next()))

    def _look_around(self, seconds: float) -> None:
        """Show that we live, and wait for that long or for a nudge."""
        self.chores.heart.turned = time.monotonic()
        if self._row is not None:
            self.chores.show(self._row)
        readable, _, _ = select.select([self._inbox], [], [], seconds)
        if readable:
            self._inbox.recv(64)

    def attend(self) -> None:
        """See to what the executors do not notice by themselves."""
        for executor in self.crew.executors.values():
            executor.attend()
        if len(self.crew.settler) and self.crew.fetcher.not_before <= time.monotonic():
            self.flush()
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

    def flush(self) -> None:
        """Settle what waits, leasing nothing: bounds what a crash can run twice to two ticks."""
        crew, epoch = self.crew, self.crew.epoch
        if crew.is_open and crew.fetcher.exchange(epoch, _none, _none).lost:
            crew.lose(epoch)

    def _break_off(self) -> None:
        self.has_failed = True
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
            self.chores.wait(patience)
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


def _none(_queue: str | None = None) -> int:
    return NO_ROOM


def run_in_thread(worker: WorkerProcess) -> threading.Thread:
    """Start a worker in a thread of this process, for tests and embedding; end it by `stop`."""
    thread = threading.Thread(target=worker.run, name="turnout-worker", daemon=True)
    thread.start()
    return thread
