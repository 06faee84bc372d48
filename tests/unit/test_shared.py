"""A dependency's state over several processes: here, several applications on one store."""

from __future__ import annotations

import pytest

from process.rig import wait_until
from turnout import ConfigError, Turnout
from turnout.events import DependencyClosed, DependencyOpened
from turnout.job import State
from turnout.limits import Breaker, Sample


@pytest.fixture
def others(tmp_path):
    apps = [Turnout(f"sqlite:///{tmp_path}/shared.db") for _ in range(2)]
    apps[0].store.setup()
    yield apps
    for app in apps:
        app.close()


def fail(watched, app, times: int) -> None:
    for _ in range(times):
        now = app.clock()
        watched.admit(1, now)
        watched.began(1, now)
        watched.ended(Sample("failed", 0.01), now)


def test_what_one_sees_the_others_know(others):
    one, two = (app.dependency("stripe") for app in others)
    heard: list[object] = []
    for app in others:
        app.on(DependencyOpened)(heard.append)
    fail(one, others[0], 10)
    assert one.look().breaker.phase == "closed"
    fail(two, others[1], 10)
    assert two.look().breaker.phase == "open", "ten of each are twenty"
    assert one.look().breaker.phase == "open"
    assert [event.dependency for event in heard] == ["stripe"], "told once"
    assert not one.admit(1, others[0].clock()).allowed


def test_opening_and_closing_by_hand_reaches_all(others):
    one, two = (app.dependency("stripe") for app in others)
    heard: list[object] = []
    others[0].on(DependencyClosed)(heard.append)
    one.open()
    assert two.look().breaker.phase == "open"
    assert not two.admit(1, others[1].clock()).allowed
    one.close()
    assert two.look().breaker.phase == "closed"
    assert two.admit(1, others[1].clock()).allowed
    assert len(heard) == 1
    fail(one, others[0], 5)
    one.reset()
    assert two.look().breaker == Breaker().initial()


def test_an_answer_to_leave_it_alone_holds_for_everybody(others):
    one, two = (app.dependency("stripe") for app in others)
    now = others[0].clock()
    one.ended(Sample("throttled", 0.1, retry_after=30), now)
    one.look()
    two.look()
    verdict = two.admit(1, now)
    assert (verdict.allowed, verdict.reason) == (False, "it asked to be left alone")
    assert now + 30 <= verdict.until < now + 34


def test_jobs_of_an_open_dependency_wait_and_burn_nothing(jobs, worker):
    ran: list[int] = []

    @jobs.task(name="charge", dependency="stripe")
    def charge(n: int) -> None:
        ran.append(n)

    @jobs.task(name="free")
    def free() -> None: ...

    jobs.store.setup()
    jobs.dependency("stripe").open()
    first = charge.enqueue(1)
    worker()
    other = free.enqueue()
    wait_until(lambda: other.refresh().state is State.SUCCEEDED)
    wait_until(lambda: (first.refresh().run_at or 0) > jobs.clock() + 0.01)
    assert (ran, first.refresh().attempt) == ([], 0)
    assert first.refresh().state is State.QUEUED
    jobs.dependency("stripe").close()
    second = charge.enqueue(2)
    for each in (first, second):
        wait_until(lambda each=each: each.refresh().state is State.SUCCEEDED)
    assert sorted(ran) == [1, 2], "closed by hand, it lets also those come back that it held back"


def test_a_name_that_nobody_declared_is_refused_once_one_is(jobs):
    jobs.dependency("stripe", breaker=Breaker(share=0.3))
    assert jobs.dependency("stripe").rule.breaker.share == 0.3
    with pytest.raises(ConfigError, match="declared are: stripe"):

        @jobs.task(dependency="strip")
        def charge() -> None: ...

    with pytest.raises(ConfigError, match="already"):
        jobs.dependency("stripe", breaker=None)
    with pytest.raises(ConfigError, match="key must be text"):
        jobs.dependency("", budget=None)
