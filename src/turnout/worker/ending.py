"""How a worker process stops: what it holds is finished or given back, then it says goodbye.

    no more leases -> (nothing runs, or the grace is over) interrupted -> outcomes told -> goodbye

What was leased and not started goes back, also what a trip under way brings; running jobs have
`grace` seconds, and see `current_job().stopping`. Then coroutines are cancelled and their jobs go
back; threads cannot be stopped, so the epoch is ended, which gives their jobs back and makes
whatever they still settle void. A second INT skips the grace; any number of TERMs are one.

The order matters: whoever ends its epoch while a job may still start here, or an outcome still
waits, has that job run twice.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from turnout import events
from turnout.errors import StoreError

if TYPE_CHECKING:
    from turnout.worker.process import WorkerProcess

log = logging.getLogger("turnout.worker")

_TICK = 0.05
_MOMENT = 0.002  # between two looks at threads that are about to end
_LAST_WORDS = 3.0  # seconds for the last outcomes to arrive, should the store fail


class Ending:
    """The end of one worker process."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.worker = worker

    def run(self) -> None:
        """Stop in good order; returns when the last outcome is told, or cannot be."""
        worker, crew = self.worker, self.worker.crew
        crew.stopping = True
        crew.give_back_waiting()
        crew.give_back(crew.suspects.take_waiting())
        crew.threads.close()
        worker.app.store.wake(worker.chores.info())
        hasty = worker.stops > 1
        deadline = time.monotonic() + (0 if hasty else worker.options.grace)
        self._let_finish(deadline)
        if crew.running:
            self._interrupt()
        self._say_goodbye()
        log.info("worker %s stopped", worker.name)
        seconds = time.time() - worker.chores.started
        worker.app.events.emit(events.WorkerStopped(worker.name, seconds))

    def _let_finish(self, deadline: float) -> None:
        worker, crew = self.worker, self.worker.crew
        stops = worker.stops
        while crew.holds_jobs() and time.monotonic() < deadline and worker.stops == stops:
            crew.give_back_waiting()  # also what a trip under way has brought
            worker.sleep(_TICK if crew.running else _MOMENT)
            worker.keep_house()
            worker.attend()

    def _interrupt(self) -> None:
        crew = self.worker.crew
        left = ", ".join(f"{job.task} {job.id}" for job in list(crew.running.values())[:10])
        log.warning("still running at the end of the grace, going back to the queue: %s", left)
        if crew.loop is not None:
            crew.loop.cancel()
        if crew.children is not None:
            crew.children.interrupt()
        if crew.loop is not None or crew.children is not None:
            patience = time.monotonic() + 1.0
            while crew.running and time.monotonic() < patience:
                self.worker.sleep(_TICK)

    def _say_goodbye(self) -> None:
        worker, crew = self.worker, self.worker.crew
        if crew.children is not None:  # first: nothing may run on under an epoch that is over
            crew.children.close()
        try:
            self._deliver()
            for job in list(crew.running.values()):
                job.lost = True
            worker.chores.goodbye()
        except StoreError as error:
            worker.has_failed = True
            log.error("could not say goodbye, others will take over: %s", error)  # noqa: TRY400
        if crew.loop is not None:
            crew.loop.close()

    def _deliver(self) -> None:
        """Carry the last outcomes out, trying again for a while.

        A goodbye that comes before them has their jobs run twice.
        """
        worker, crew = self.worker, self.worker.crew
        worker.flush()  # also when nothing waits: a trip under way must not be overtaken
        patience = time.monotonic() + (0 if worker.stops > 1 else _LAST_WORDS)
        while crew.has_fresh() and time.monotonic() < patience:
            worker.sleep(_TICK)
            worker.keep_house()
            if crew.fetcher.not_before <= time.monotonic():
                worker.flush()
