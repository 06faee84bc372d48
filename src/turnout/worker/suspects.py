"""A job under suspicion: one under which workers keep dying.

When a process dies, nobody knows which of its jobs did it; all that it held count a crash. One
crash before the last, a job is therefore run alone: nothing else is held by the process meanwhile,
so that the next death, if there is one, convicts the right job, and its innocent neighbours end
well.

    clear -> waiting (a suspect was leased: lease nothing, give all other unstarted jobs back, let
             what runs end) -> trying (nothing else runs, or PATIENCE is over) -> clear
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from turnout.store.protocol import POISON

if TYPE_CHECKING:
    from collections.abc import Callable

    from turnout.job import JobId, LeasedJob

PATIENCE = 5.0  # seconds to wait for the others to end


class Suspects:
    """The suspect of one worker process, if it has one."""

    def __init__(self) -> None:
        self._waiting: LeasedJob | None = None
        self.on_trial: JobId | None = None
        self._since = 0.0

    def __bool__(self) -> bool:
        return self._waiting is not None or self.on_trial is not None

    def pick(
        self, leased: list[LeasedJob], is_dangerous: Callable[[LeasedJob], bool]
    ) -> list[LeasedJob]:
        """Keep the first suspect among these jobs, if none is kept already; return the others."""
        if self._waiting is not None:
            return leased  # two trips may overlap: what is forgotten here stays leased for ever
        for at, job in enumerate(leased):
            if job.crashes >= POISON - 1 and is_dangerous(job):
                self._waiting, self._since = job, time.monotonic()
                return leased[:at] + leased[at + 1 :]
        return leased

    def next(self, running: int) -> LeasedJob | None:
        """Return the job to try now, if it is time."""
        job = self._waiting
        if job is None or (running and time.monotonic() - self._since < PATIENCE):
            return None
        self._waiting, self.on_trial = None, job.id
        return job

    def acquit(self, job_id: JobId) -> None:
        """Note that a job ended, on trial or not, or left this worker unrun."""
        if self.on_trial == job_id:
            self.on_trial = None

    def take_waiting(self) -> list[LeasedJob]:
        """Take back the one that was not tried."""
        job, self._waiting = self._waiting, None
        return [] if job is None else [job]
