"""After a lost reply: who settled a job that the store holds nothing of any more?"""

from __future__ import annotations

import msgspec
import pytest

from conformance.builders import (
    T,
    bury,
    job_id,
    lease,
    new_job,
    open_epoch,
    put,
    retried,
    running,
    settle,
    succeeded,
)
from turnout.errors import StoreUnavailable
from turnout.job import Exchanged, Outcome
from turnout.store.memory import MemoryStore
from turnout.worker.unanswered import Unanswered

REFUSED = Exchanged([], [])


@pytest.fixture
def store():
    made = MemoryStore()
    open_epoch(made)
    return made


def told(store, outcome: Outcome, *, epoch: str = "e1", answer: Exchanged = REFUSED) -> list[str]:
    """What counts as settled when a trip under e1 has failed, and the next brought this answer."""
    unanswered = Unanswered(store)
    unanswered.remember("e1", [outcome])
    return unanswered.complete(epoch, [outcome], answer).settled


def by_somebody_else(outcome: Outcome) -> Outcome:
    """The same as another process would have ended it, a second later."""
    return msgspec.structs.replace(outcome, finished_at=outcome.finished_at + 1)


@pytest.mark.parametrize("ending", [succeeded, lambda job: retried(job, run_at=T + 9)])
def test_it_was_the_trip_whose_reply_was_lost(store, ending):
    [job] = running(store, new_job(1))
    outcome = ending(job)
    settle(store, outcome)
    assert told(store, outcome) == [job.id]


def test_a_retry_is_known_by_its_entry_in_the_history_also_while_the_job_runs_again(store):
    [job] = running(store, new_job(1))
    outcome = retried(job, run_at=T)
    settle(store, outcome)
    assert lease(store)
    assert told(store, outcome) == [job.id]


def test_the_store_forgot_our_lease_and_somebody_else_ended_the_job(store):
    [job] = running(store, new_job(1))
    outcome = succeeded(job)
    settle(store, by_somebody_else(outcome))
    assert told(store, outcome) == []


def test_the_store_forgot_our_lease_and_the_job_waits_or_died(store):
    put(store, new_job(1))
    bury(store, new_job(2))
    for n in (1, 2):
        [job] = running(MemoryStore(), new_job(n))
        assert told(store, succeeded(job, at=T + 1)) == []
        assert told(store, retried(job, run_at=T + 9, at=T + 1)) == []


def test_a_success_that_was_not_to_be_kept_is_gone_as_it_should_be(store):
    [job] = running(store, new_job(1))
    outcome = msgspec.structs.replace(succeeded(job), keep=0.0)
    settle(store, outcome)
    assert told(store, outcome) == [job.id]


def test_only_for_one_trip_and_one_epoch(store):
    [job] = running(store, new_job(1))
    outcome = succeeded(job)
    settle(store, outcome)
    assert told(store, outcome, epoch="e2") == []
    assert told(store, outcome, answer=Exchanged([], [], lost=True)) == []
    unanswered = Unanswered(store)
    unanswered.remember("e1", [outcome])
    assert unanswered.complete("e1", [outcome], Exchanged([job.id], [])).settled == [job.id]
    assert unanswered.complete("e1", [outcome], REFUSED).settled == [], "the doubt is over"


def test_where_the_store_cannot_be_asked_the_trip_has_settled_it(store, monkeypatch):
    [job] = running(store, new_job(1))
    outcome = succeeded(job)

    def away(*_args, **_options):
        raise StoreUnavailable("away")

    monkeypatch.setattr(store, "find", away)
    assert told(store, outcome) == [job_id(1)]
