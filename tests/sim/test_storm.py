"""What the simulator shows of storms, and that the model, not a constant, makes them."""

from __future__ import annotations

import random

import pytest

from turnout import Turnout, exponential, retry_on
from turnout.limits import Adaptive, Dependency
from turnout.retry import Policy
from turnout.sim import compare
from turnout.sim.engine import Engine, simulate
from turnout.sim.from_app import contenders_of
from turnout.sim.reading import read_scenario

BACKOFF = {"shape": "exponential", "first": 1}


def runs(storm, **changes):
    """Every run of the storm's first policy, with some of its parts changed."""
    for name, value in changes.items():
        if isinstance(value, dict):
            storm[name] = {**storm.get(name, {}), **value}
        else:
            storm[name] = value
    scenario = read_scenario(storm)
    return [simulate(scenario, scenario.contenders[0], seed) for seed in range(scenario.seeds)]


def test_backoff_with_jitter_alone_does_not_recover(storm):
    for run in runs(storm, duration=1020.0):
        assert run.recovery is None
        assert run.attempts_per_job > 2
        assert run.busy > 0.85  # the service works all the time, for callers who have gone


def test_the_adaptive_limit_recovers_soon_at_hardly_more_than_one_attempt(storm):
    policy = [{"name": "adaptive", "wait": BACKOFF, "adaptive": True}]
    for run in runs(storm, policy=policy):
        assert run.recovery is not None
        assert run.recovery <= 180
        assert run.attempts_per_job < 1.2


def test_without_an_outage_the_same_naive_policy_is_well(storm):
    for run in runs(storm, fault=[]):
        assert run.attempts_per_job < 1.02
        assert run.done >= run.jobs - 40
        assert run.oldest < 15


@pytest.mark.parametrize(
    "changes",
    [
        {"workers": 6},  # fewer than would drown the service
        {"service": {"timeout": 12.0}},  # patience beyond what the workers can cause
        {"arrivals": {"rate": 6.0}},  # a load that leaves the collapsed service room to catch up
        {"fault": [{"kind": "outage", "at": 60.0, "for": 0.3}]},  # hardly a backlog
    ],
)
def test_the_naive_policy_recovers_once_the_cause_is_taken_away(storm, changes):
    for run in runs(storm, **changes):
        assert run.recovery is not None


def test_the_collapse_is_what_sharing_predicts(storm):
    # Forty calls on five places: each gets an eighth, so within 1.2 s 0.15 s of work. What ends is
    # a gamma variable (mean 0.2, deviation 0.1) below 0.15; the rest is work thrown away.
    rng = random.Random(1)
    needs = [rng.gammavariate(4, 0.05) for _ in range(100_000)]
    share = sum(need < 0.15 for need in needs) / len(needs)
    work = sum(min(need, 0.15) for need in needs) / len(needs)
    for run in runs(storm):
        end = [point for point in run.points if point.at > 300]
        goodput = sum(point.goodput for point in end) / len(end)
        calls = sum(point.calls for point in end) / len(end)
        assert calls == pytest.approx(5 / work, rel=0.05)
        assert goodput == pytest.approx(share * 5 / work, rel=0.1)
        assert goodput < 17.5  # below what arrives: it cannot recover


def test_the_production_objects_decide(storm, monkeypatch):
    asked = {"policy": 0, "adaptive": 0}
    decide, admit = Policy.decide, Adaptive.admit

    def counted_decide(self, *args):
        asked["policy"] += 1
        return decide(self, *args)

    def counted_admit(self, *args):
        asked["adaptive"] += 1
        return admit(self, *args)

    monkeypatch.setattr(Policy, "decide", counted_decide)
    monkeypatch.setattr(Adaptive, "admit", counted_admit)
    policy = [{"name": "adaptive", "wait": BACKOFF, "adaptive": True}]
    run = runs(storm, policy=policy, seeds=1, duration=200.0)[0]
    assert asked["policy"] >= run.attempts - run.done - 40 > 0
    assert asked["adaptive"] >= run.attempts


def test_a_limit_is_kept_and_a_rate_too(storm):
    limited = [{"name": "limited", "wait": BACKOFF, "concurrency": 6}]
    assert {run.peak_running for run in runs(storm, policy=limited, seeds=1)} == {6}
    rated = [{"name": "rated", "rate": {"most": 20, "per": 1.0, "burst": 5}}]
    for run in runs(storm, policy=rated, seeds=1):
        assert max(point.calls for point in run.points) <= 20 + 5 / 10 + 1e-9


def test_a_429_is_honoured_by_everybody_with_a_cooldown(storm):
    quota = {"quota": 10.0, "retry_after": 5.0}
    wait = {"shape": "exactly", "seconds": 0.1}
    alone = [{"name": "alone", "wait": wait, "attempts": 1000}]
    shared = [{"name": "shared", "wait": wait, "attempts": 1000, "cooldown": True}]
    before = runs(storm, service=quota, policy=alone, fault=[], seeds=1)[0]
    after = runs(storm, service=quota, policy=shared, fault=[], seeds=1)[0]
    assert after.attempts_per_job < before.attempts_per_job / 2


@pytest.mark.parametrize("kind", ["refuse", "errors", "slow"])
def test_every_fault_is_survived_by_all_of_a_dependency(storm, kind):
    fault = [{"kind": kind, "at": 60.0, "for": 60.0}]
    parts = {"adaptive": True, "breaker": True, "budget": True, "cooldown": True}
    for run in runs(storm, fault=fault, policy=[{"name": "all", "wait": BACKOFF, **parts}]):
        assert run.recovery is not None
        assert run.attempts_per_job < 1.2


@pytest.mark.parametrize(
    "arrivals",
    [
        {"shape": "even", "rate": 10.0},
        {"shape": "burst", "rate": 10.0, "every": 50.0, "size": 100},
        {"shape": "daily", "rate": 10.0, "peak": 2.0, "period": 350.0},
    ],
)
def test_arrivals_have_their_shape(storm, arrivals):
    run = runs(storm, arrivals=arrivals, fault=[], workers=6, seeds=1)[0]
    by_window = [point.arrived for point in run.points]
    shape = arrivals["shape"]
    if shape == "even":
        assert set(by_window) <= {9.9, 10.0, 10.1}
    elif shape == "burst":
        assert run.jobs == pytest.approx(7000 + 13 * 100, rel=0.05)
        assert max(by_window) > 15
    else:
        assert max(by_window) > 16
        assert min(by_window) < 8


def test_equal_seeds_give_equal_runs_in_any_number_of_processes(storm):
    storm.update(duration=150.0, seeds=10)
    scenario = read_scenario(storm)
    one = compare(scenario)
    assert one == compare(scenario, processes=2)
    first, second = (simulate(scenario, scenario.contenders[0], seed) for seed in (1, 2))
    assert first != second


def test_no_more_jobs_run_than_there_are_workers_and_none_is_lost(storm):
    scenario = read_scenario({**storm, "duration": 200.0})
    engine = Engine(scenario, scenario.contenders[0], 3)
    run = engine.run()
    waiting = len(engine._queue) + len(engine._running)
    assert run.peak_running == 40
    assert run.done + run.dead + waiting == run.jobs


class RateLimitError(Exception):
    def __init__(self, a, b, c):
        super().__init__(a, b, c)


def test_an_application_tasks_compete_with_their_own_rules(storm):
    app = Turnout("memory:")
    rules = [retry_on(RateLimitError, attempts=3, wait=exponential(first=1))]

    @app.task(name="one", on_error=rules)
    def one(): ...

    @app.task(name="two", on_error=rules)
    def two(): ...

    @app.task(name="three")
    def three(): ...

    both, plain = contenders_of(app)
    assert both.name == "one and 1 more"
    assert both.policy is one.options.policy
    assert plain.name == "three"
    scenario = read_scenario({**storm, "policy": []}, more=[both, plain])
    run = simulate(scenario, scenario.contenders[0], 1)
    assert run.dead > 0  # three attempts are not enough for a minute's outage
    assert simulate(scenario, scenario.contenders[1], 1).dead == 0
    assert [one.name for one in compare(scenario, processes=2)] == [both.name, plain.name]


def test_a_dependency_is_asked_before_a_worker_is_taken(storm):
    scenario = read_scenario(
        {**storm, "policy": [{"name": "one", "adaptive": {"start": 1, "most": 1}}]}
    )
    assert scenario.contenders[0].dependency == Dependency(
        key="service", adaptive=Adaptive(start=1, most=1), breaker=None, budget=None, cooldown=None
    )
    assert simulate(scenario, scenario.contenders[0], 1).peak_running == 1
