"""Replays on every store: begun by one process, driven by another, stopped by a third."""

from __future__ import annotations

import time

import pytest

from conformance.builders import (
    bury,
    ended,
    job_id,
    lease,
    new_job,
    open_epoch,
    put,
    settle,
    succeeded,
    unique_job,
)
from conformance.builders import state_of as state
from turnout import Turnout
from turnout.errors import ConfigError
from turnout.job import JobFilter, State
from turnout.replay import Plan
from turnout.replays import SLOTS, Replays
from turnout.worker.replayer import Replayer


class Yard:
    """A store, a clock that the test moves, and workers that may drive replays."""

    def __init__(self, store) -> None:
        self.store, self.now = store, time.time()
        self.app = Turnout("memory:")
        self.app._store, self.app.clock = store, lambda: self.now
        self.first, self.second = Replayer(self.app, "first"), Replayer(self.app, "second")

    @property
    def replays(self) -> Replays:
        return self.app.replays

    def bury(self, count: int, **fields) -> None:
        bury(self.store, *(new_job(n, **fields) for n in range(1, count + 1)), now=self.now)

    def step(self, seconds: float = 1.0) -> None:
        self.now += seconds
        self.first.step()

    def one(self):
        [replay] = self.replays.all()
        return replay

    def run(self, *, good: int = 0, bad: int = 0) -> None:
        """Run that many jobs of the queue: first those that go well."""
        at = time.time() + 60
        open_epoch(self.store, "runner", ttl=9_999, now=at)
        leased = lease(self.store, epoch="runner", limit=good + bad, now=at)
        assert len(leased) == good + bad
        outcomes = [succeeded(job, at=at) for job in leased[:good]]
        outcomes += [ended(job, at=at) for job in leased[good:]]
        assert len(settle(self.store, *outcomes, epoch="runner", now=at)) == good + bad

    def dead(self) -> int:
        return len(self.store.find(JobFilter(states=(State.DEAD,)), limit=1_000))

    def queued(self) -> int:
        return len(self.store.find(JobFilter(states=(State.QUEUED,)), limit=1_000))


@pytest.fixture
def yard(store):
    return Yard(store)


def test_all_at_once(yard):
    yard.bury(30)
    replay = yard.replays.start()
    assert (replay.expected, replay.expected_more, replay.phase) == (30, False, "running")
    yard.step()
    assert (yard.queued(), yard.dead(), yard.one().sent) == (30, 0, 30)
    assert yard.one().phase == "finishing"
    yard.run(good=30)
    yard.step()
    assert (yard.one().phase, yard.one().succeeded, yard.one().failed) == ("done", 30, 0)


def test_no_faster_than_its_rate(yard):
    yard.bury(30)
    yard.replays.start(plan=Plan(rate=4.0))
    sent = []
    for _ in range(3):
        yard.step()
        sent.append(yard.one().sent)
    assert sent == [5, 9, 13], "one at once, and four a second"
    yard.step(0.1)
    assert yard.one().sent == 13
    yard.step(3_600.0)
    assert yard.one().sent == 21, "an hour without a driver is not caught up on"
    for _ in range(10):
        yard.step(0.5)
    assert yard.one().sent == 30


def test_a_slow_rate_does_not_lag(yard):
    yard.bury(12)
    yard.replays.start(plan=Plan(rate=0.5))
    for _ in range(16):
        yard.step(0.7)
    assert 5 <= yard.one().sent <= 7


def test_a_canary_that_fails_stops_it(yard):
    yard.bury(30)
    yard.replays.start(plan=Plan(canary=10, canary_share=0.8), by="anna")
    yard.step()
    assert (yard.one().phase, yard.one().sent, yard.queued()) == ("canary", 10, 10)
    yard.step()
    assert yard.one().sent == 10, "the rest waits for the verdict"
    yard.run(good=7, bad=3)
    yard.step()
    told = yard.one()
    assert (told.phase, told.succeeded, told.failed) == ("stopped", 7, 3)
    assert told.why == "canary: 7 of 10 succeeded, 80% were asked"
    yard.step()
    assert (yard.queued(), yard.dead()) == (0, 23)


def test_a_canary_that_does_well_goes_on(yard):
    yard.bury(30)
    yard.replays.start(plan=Plan(canary=10, canary_share=0.8))
    yard.step()
    yard.run(good=8)
    yard.step()
    yard.step()
    assert (yard.one().phase, yard.one().sent) == ("finishing", 30)


def test_a_canary_that_takes_too_long_stops_it(yard):
    yard.bury(5)
    yard.replays.start(plan=Plan(canary=3, canary_within=60.0))
    yard.step()
    yard.step(59.0)
    assert yard.one().phase == "canary"
    yard.step(2.0)
    assert (yard.one().phase, yard.one().sent) == ("stopped", 3)
    assert "within 60 s" in yard.one().why


def test_a_canary_larger_than_the_dead_set_is_all_of_it(yard):
    yard.bury(3)
    yard.replays.start(plan=Plan(canary=20))
    yard.step()
    assert (yard.one().phase, yard.one().sent) == ("canary", 3)
    yard.run(good=3)
    yard.step()
    assert yard.one().phase == "done"


def test_failures_stop_it_and_the_dead_are_not_sent_twice(yard):
    yard.bury(60)
    yard.replays.start(plan=Plan(rate=10.0, stop_at=0.5))
    yard.step()
    yard.run(bad=9)
    yard.step()
    assert yard.one().phase == "running", "nine say nothing yet"
    yard.run(bad=9)
    yard.step()
    told = yard.one()
    assert (told.phase, told.failed) == ("stopped", 18)
    assert told.why == "18 of the last 18 jobs failed, it stops at 50%"
    assert told.sent == 21


def test_jobs_that_die_again_meanwhile_are_sent_once(yard):
    yard.bury(20)
    yard.replays.start(plan=Plan(rate=5.0))
    for _ in range(10):
        yard.step()
        yard.run(bad=yard.queued())
    assert (yard.one().phase, yard.one().sent, yard.one().failed) == ("done", 20, 20)
    assert yard.dead() == 20


def test_one_drives_and_another_takes_over_when_it_left(yard):
    yard.bury(30)
    yard.replays.start(plan=Plan(rate=2.0))
    yard.step()
    before = yard.one()
    yard.now += 1.0
    yard.second.step()
    assert yard.one() == before
    yard.first.let_go()
    yard.second.step()
    assert yard.one().sent > before.sent


def test_a_stop_during_a_step_holds(yard, monkeypatch):
    yard.bury(30)
    replay = yard.replays.start(plan=Plan(rate=10.0))
    change = type(yard.store).change

    def stopped_meanwhile(self, *args, **more):
        yard.replays.stop(replay.id, by="anna")
        return change(self, *args, **more)

    monkeypatch.setattr(type(yard.store), "change", stopped_meanwhile)
    yard.step()
    yard.step()
    told = yard.one()
    assert (told.phase, told.why, told.sent) == ("stopped", "by anna", yard.queued())
    assert 0 < told.sent < 30
    assert yard.replays.stop("none") is None


def test_only_what_the_query_means_is_sent(yard):
    bury(yard.store, new_job(1), new_job(2, task="shop.mail"), now=yard.now)
    bury(yard.store, new_job(3, task="shop.mail"), state=State.CANCELLED, now=yard.now)
    yard.replays.start("task:shop.mail")
    yard.step()
    assert yard.queued() == 1
    assert state(yard.store, 2) is State.QUEUED
    yard.replays.start("state:cancelled")
    yard.step()
    assert state(yard.store, 3) is State.QUEUED
    assert state(yard.store, 1) is State.DEAD


def test_a_queue_is_replayed_with_its_lanes(yard):
    names = ("mail", "mail~a", "mail~b", "default")
    put(yard.store, *(new_job(n, name) for n, name in enumerate(names, 1)), now=yard.now)
    open_epoch(yard.store, "e1", now=yard.now)
    leased = lease(yard.store, *names, now=yard.now)
    assert len(settle(yard.store, *(ended(job, at=yard.now) for job in leased), now=yard.now)) == 4
    assert yard.replays.start("queue:mail").expected == 3
    for _ in range(3):
        yard.step()
    assert (yard.queued(), yard.one().sent) == (3, 3)
    assert state(yard.store, 4) is State.DEAD


def test_a_job_whose_unique_key_is_taken_is_passed_over(yard):
    bury(yard.store, unique_job(1), new_job(2), now=yard.now)
    put(yard.store, unique_job(3), now=yard.now)
    yard.replays.start()
    yard.step()
    assert (yard.one().sent, yard.one().passed_over) == (1, 1)
    assert yard.one().watched == (job_id(2),)


def test_places_are_taken_again_once_their_replay_is_over(yard):
    for _ in range(SLOTS):
        yard.now += 1
        yard.replays.start()
    with pytest.raises(ConfigError, match="12 replays are under way"):
        yard.replays.start()
    oldest = yard.replays.all()[-1]
    yard.step()
    yard.step()
    yard.replays.start()
    assert oldest.id not in {one.id for one in yard.replays.all()}
    assert len(yard.replays.all()) == SLOTS
