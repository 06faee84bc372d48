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


@pytest.mark.parametrize(
    ("epoch", "answer", "word"),
    [
        pytest.param("e1", Exchanged([], []), "succeeded", id="settled by the trip before"),
        pytest.param("e1", Exchanged([], [], lost=True), "void", id="the epoch is lost"),
        pytest.param("e2", Exchanged([], []), "void", id="under a later epoch"),
    ],
)
def test_after_a_lost_reply_a_job_unknown_to_its_living_epoch_was_settled(app, epoch, answer, word):
    told: list[tuple[str, float]] = []
    settler = settler_of(app, told)
    sent = [Outcome.succeeded(JOB, 1.0, 2.0, keep=60.0)]
    settler.doubt("e1", sent)
    settler.confirm(sent, answer, epoch)
    assert told == [(word, 1.0)]
    settler.confirm(sent, Exchanged([], []), "e1")
    assert told[1:] == [("void", 1.0)], "the doubt was about that one trip"
