"""Collects outcomes and carries them to the store; an object, not a thread.

Outcomes wait in a deque, which any thread may append to without a lock. They leave with the next
lease, in the same round trip, or by a flush of their own. After the store has confirmed them come
the consequences that need a settled job: log lines, metrics, events. An outcome that the store did
not confirm belonged to somebody else by then: it is logged, told of and dropped.

An outcome of an epoch that is over stays here: no trip can settle it any more.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from turnout import events
from turnout.job import Exchanged
from turnout.worker.joblog import JobLog
from turnout.worker.measures import Measures
from turnout.worker.notices import TOLD, event_of
from turnout.worker.unanswered import lease_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.job import JobId, LeasedJob, Outcome
    from turnout.worker.unanswered import Lease

log = logging.getLogger("turnout.worker")


class Settler:
    """Outcomes on their way to the store."""

    def __init__(
        self, bus: events.Events, job_log: JobLog, worker: str, *, measures: bool = False
    ) -> None:
        self._pending: deque[Outcome] = deque()
        self.add = self._pending.append
        self._epoch = ""
        self._orphans: set[Lease] = set()  # that run on, leased under an epoch that is over
        self.away = 0  # how many wait here for a part of the store that cannot be reached
        self.measures = Measures() if measures else None
        self._events = bus
        self._job_log = job_log
        self._worker = worker

    def __len__(self) -> int:
        return len(self._pending)

    def take(self) -> list[Outcome]:
        """Take what has gathered."""
        pending = self._pending
        self.away = 0
        return [pending.popleft() for _ in range(len(pending))]

    def orphan(self, job: LeasedJob) -> None:
        """Remember a job that runs on while its epoch is over; before a trip under the next one."""
        self._orphans.add((job.id, job.fence))

    def ours(self, epoch: str, outcomes: list[Outcome]) -> list[Outcome]:
        """Return the outcomes that can settle under this epoch; tell of the others, which are void.

        At the first trip of a later epoch nothing has been leased under it yet.
        """
        is_new, self._epoch = self._epoch not in {"", epoch}, epoch
        if not is_new and not self._orphans:
            return outcomes
        leases = set(map(lease_of, outcomes))
        former = leases if is_new else leases & self._orphans
        self._orphans -= former
        void = [outcome for outcome in outcomes if lease_of(outcome) in former]
        self.confirm(void, Exchanged([], [], lost=True))
        return [outcome for outcome in outcomes if lease_of(outcome) not in former]

    def put_back(self, outcomes: Sequence[Outcome]) -> None:
        """Keep outcomes that could not be delivered, in front of newer ones."""
        self._pending.extendleft(reversed(outcomes))

    def put_off(self, outcomes: Sequence[Outcome], away: frozenset[JobId]) -> list[Outcome]:
        """Keep the outcomes of these jobs for the next trip; return the others."""
        kept = [outcome for outcome in outcomes if outcome.job.id in away]
        self.put_back(kept)
        self.away = len(kept)
        return [outcome for outcome in outcomes if outcome.job.id not in away]

    def confirm(self, outcomes: Sequence[Outcome], answer: Exchanged) -> None:
        """Draw the consequences of what the store settled, and tell of what it refused."""
        if not outcomes:
            return
        if len(answer.settled) < len(outcomes):
            outcomes = self._without_lost(outcomes, set(answer.settled))
        self._job_log.write(outcomes)
        if self.measures is not None and outcomes:
            self.measures.add(outcomes)
        if any(self._events.wants(kind) for kind in TOLD):
            for outcome in outcomes:
                self._events.emit(event_of(outcome, self._worker))

    def _without_lost(self, outcomes: Sequence[Outcome], settled: set[JobId]) -> list[Outcome]:
        ours = []
        newest = _newest(outcomes)
        for outcome in outcomes:
            job = outcome.job
            if job.id in settled and newest[job.id] is outcome:
                ours.append(outcome)
                continue
            log.warning("job %s (%s): the lease was lost, its outcome is void", job.id, job.task)
            seconds = outcome.finished_at - outcome.started_at
            told = (job.id, job.task, job.queue, job.attempt + 1, self._worker, seconds)
            self._events.emit(events.LeaseLost(*told))
        return ours


def _newest(outcomes: Sequence[Outcome]) -> dict[JobId, Outcome]:
    """Return each job's outcome that counts: the first of its newest lease.

    A worker that lost its epoch may lease a job again that still runs here.
    """
    newest: dict[JobId, Outcome] = {}
    for outcome in outcomes:
        known = newest.setdefault(outcome.job.id, outcome)
        if outcome.job.fence > known.job.fence:
            newest[outcome.job.id] = outcome
    return newest
