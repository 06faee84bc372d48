"""What follows from the store's answer to a batch of outcomes."""

from __future__ import annotations

import msgspec
import pytest

from turnout import Turnout, events
from turnout.job import Exchanged, JobId, LeasedJob, Outcome
from turnout.worker.joblog import JobLog
from turnout.worker.settler import Settler

JOB = LeasedJob(
    JobId("j1"), "mail", "default", "[]", 0, 0, 0, 0.0, 0.0, None, None, None, None, fence=7
)


@pytest.fixture
def app():
    made = Turnout("memory:")
    yield made
    made.close()


def settler_of(app, told: list[tuple[str, float]]) -> Settler:
    app.events.on(events.JobSucceeded, lambda one: told.append(("succeeded", one.seconds)))
    app.events.on(events.LeaseLost, lambda one: told.append(("void", one.seconds)))
    return Settler(app.events, JobLog("none"), "w", measures=True)


def test_of_a_job_that_was_here_under_two_leases_one_outcome_counts(app):
    told: list[tuple[str, float]] = []
    settler = settler_of(app, told)
    older = Outcome.succeeded(JOB, 1.0, 2.0, keep=60.0)
    again = msgspec.structs.replace(JOB, fence=9)
    newer = Outcome.succeeded(again, 1.5, 4.0, keep=60.0)
    settler.confirm([older, newer], Exchanged([JOB.id], []))
    assert sorted(told) == [("succeeded", 2.5), ("void", 1.0)]


def test_an_outcome_of_an_epoch_that_is_over_is_void(app):
    told: list[tuple[str, float]] = []
    settler = settler_of(app, told)
    waiting = Outcome.succeeded(JOB, 1.0, 2.0, keep=60.0)
    running = msgspec.structs.replace(JOB, id=JobId("j2"), fence=8)
    fresh = msgspec.structs.replace(JOB, id=JobId("j3"), fence=9)
    assert settler.ours("e1", []) == []
    settler.orphan(running)
    assert settler.ours("e2", [waiting]) == []
    assert told == [("void", 1.0)]
    late, ours = (Outcome.succeeded(job, 1.0, 4.0, keep=60.0) for job in (running, fresh))
    assert settler.ours("e2", [late, ours]) == [ours]
    assert told[1:] == [("void", 3.0)]
