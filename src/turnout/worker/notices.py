"""Outcomes as events for listeners."""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout import events
from turnout.job import State

if TYPE_CHECKING:
    from turnout.job import Outcome

_ENDED = {
    State.DEAD: events.JobDead,
    State.DISCARDED: events.JobDiscarded,
    State.CANCELLED: events.JobCancelled,
}
TOLD: tuple[type[events.Event], ...] = (
    events.JobSucceeded,
    events.JobRetried,
    events.JobSnoozed,
    events.JobCrashed,
    *_ENDED.values(),
)


def event_of(outcome: Outcome, worker: str) -> events.JobEvent:
    """Return the event that tells of a settled outcome."""
    job = outcome.job
    seconds = outcome.finished_at - outcome.started_at
    told = (job.id, job.task, job.queue, job.attempt + 1, worker, seconds)
    if outcome.state is State.SUCCEEDED:
        return events.JobSucceeded(*told)
    if outcome.state is State.QUEUED and outcome.crashes is not None:
        return events.JobCrashed(*told, outcome.crashes)
    if outcome.state is State.QUEUED:
        run_at = job.run_at if outcome.run_at is None else outcome.run_at
        if outcome.error is None:
            return events.JobSnoozed(*told, run_at)
        return events.JobRetried(*told, run_at, outcome.exception)
    return _ENDED[outcome.state](*told, outcome.exception, outcome.reason)
