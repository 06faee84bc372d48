"""Collects outcomes and carries them to the store; an object, not a thread.

Outcomes wait in a deque, which any thread may append to without a lock. They leave with the next
lease, in the same round trip, or by a flush of their own. After the store has confirmed them come
the consequences that need a settled job: log lines, events, counters. An outcome that the store did
not confirm belonged to somebody else by then: it is counted, logged and dropped.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from typing import TYPE_CHECKING

from turnout import events
from turnout.job import State
from turnout.worker.joblog import JobLog
from turnout.worker.notices import TOLD, event_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.job import Exchanged, JobId, Outcome

log = logging.getLogger("turnout.worker")


class Settler:
    """Outcomes on their way to the store."""

    def __init__(self, bus: events.Events, job_log: JobLog, worker: str) -> None:
        self._pending: deque[Outcome] = deque()
        self.add = self._pending.append
        self.away = 0  # how many wait here for a part of the store that cannot be reached
        self.counts: Counter[str] = Counter()
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
        self.counts.update(map(_state, outcomes))
        if any(self._events.wants(kind) for kind in TOLD):
            for outcome in outcomes:
                self._events.emit(event_of(outcome, self._worker))

    def _without_lost(self, outcomes: Sequence[Outcome], settled: set[str]) -> list[Outcome]:
        ours = []
        for outcome in outcomes:
            job = outcome.job
            if job.id in settled:
                ours.append(outcome)
                continue
            self.counts["lost"] += 1
            log.warning("job %s (%s): the lease was lost, its outcome is void", job.id, job.task)
            seconds = outcome.finished_at - outcome.started_at
            told = (job.id, job.task, job.queue, job.attempt + 1, self._worker, seconds)
            self._events.emit(events.LeaseLost(*told))
        return ours


def _state(outcome: Outcome) -> str:
    state = outcome.state
    return "retried" if state is State.QUEUED else state.value
