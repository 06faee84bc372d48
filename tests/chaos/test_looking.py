"""What the rig itself makes of a ledger, a store and a clock, without any worker."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from chaos.looking import Lookout
from chaos.pace import MOST, Hold
from chaos.sampling import every_ten_minutes
from chaos.shop import OFTEN, SELDOM, WEIGHTS, weights
from turnout.job import State
from turnout.testing.chaos.ledger import Ledger


class Store:
    """Answers `find` from a dictionary of states, and counts what it was asked for."""

    def __init__(self) -> None:
        self.states: dict[str, State] = {}
        self.asked: list[str] = []

    def find(self, where, *, limit):
        assert len(where.ids) <= limit
        self.asked += where.ids
        return [
            SimpleNamespace(id=job, state=self.states[job], attempt=1, crashes=0)
            for job in where.ids
            if job in self.states
        ]


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger")


def test_a_job_is_looked_at_some_time_after_its_settle(ledger):
    store = Store()
    lookout = Lookout(ledger, store)
    now = time.monotonic()
    for job, since in (("old", now - 10), ("new", now)):
        store.states[job] = State.SUCCEEDED
        ledger.write("accepted", job, "quick", "")
        ledger.write("settled", job, 1, "succeeded", at=since)
    lookout.look()
    assert set(lookout.ends) == {"old"}
    assert (lookout.accepted, lookout.waiting, lookout.is_done) == (2, 1, False)
    lookout.look(every=True)
    assert set(lookout.ends) == {"old", "new"}
    assert lookout.is_done


def test_a_job_whose_settle_nobody_noted_is_looked_at_too(ledger):
    store = Store()
    lookout = Lookout(ledger, store)
    ledger.write("start", "killed", 1, 7)
    store.states["killed"] = State.RUNNING
    lookout.look(every=True)
    assert lookout.waiting == 1
    store.states["killed"] = State.SUCCEEDED
    lookout.look(every=True)
    assert lookout.is_done


def test_what_the_store_does_not_confirm_is_asked_for_again(ledger):
    store = Store()
    lookout = Lookout(ledger, store)
    ledger.write("accepted", "gone", "quick", "")
    ledger.write("settled", "gone", 1, "succeeded", at=0.0)
    lookout.look(every=True)
    assert not lookout.is_done
    lookout.look(every=True)
    assert store.asked.count("gone") >= 2


def test_a_line_that_comes_late_makes_no_ended_job_open_again(ledger):
    store = Store()
    lookout = Lookout(ledger, store)
    store.states["quick"] = State.SUCCEEDED
    ledger.write("settled", "quick", 1, "succeeded", at=0.0)
    lookout.look()
    ledger.write("accepted", "quick", "quick", "")
    lookout.look()
    assert lookout.is_done


def test_an_attempt_that_was_retried_has_not_ended(ledger):
    lookout = Lookout(ledger, Store())
    ledger.write("start", "flaky", 1, 7)
    ledger.write("settled", "flaky", 1, "retried", at=0.0)
    lookout.learn()
    assert lookout.open.keys() == {"flaky"}
    assert not lookout.settled


@pytest.mark.parametrize("rate", [OFTEN, 10 * OFTEN])
def test_jobs_that_take_long_are_as_many_a_second_at_any_rate(rate):
    usual, now = weights(OFTEN, transactions=True), weights(rate, transactions=True)
    assert usual == WEIGHTS
    for kind in SELDOM:
        assert now[kind] * rate == pytest.approx(usual[kind] * OFTEN)


def test_a_store_without_transactions_has_no_kind_that_needs_them():
    assert "charge" not in weights(OFTEN, transactions=False)


def test_enqueuers_wait_while_too_much_waits(tmp_path):
    hold = Hold(tmp_path)
    hold.keep(MOST)
    assert not hold.is_set
    hold.keep(MOST + 1)
    assert hold.is_set
    hold.keep(MOST - 1)
    assert hold.is_set
    hold.keep(MOST // 2)
    assert not hold.is_set


def test_the_most_of_each_ten_minutes_is_told():
    seen = [(100.0, 3), (300.0, 9), (699.0, 4), (701.0, 5)]
    assert every_ten_minutes(seen) == [9, 5]
    assert every_ten_minutes([]) == []
