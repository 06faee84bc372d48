"""The model of the service is fair: it obeys conservation and the known laws of queues."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.sim.engine import simulate
from turnout.sim.reading import read_scenario
from turnout.sim.scenario import Service
from turnout.sim.service import Call, Station


class Always:
    """A random source of which nothing is random."""

    def __init__(self, value=0.5):
        self.value = value

    def random(self):
        return self.value


def station(**options):
    return Station(Service(**{"time": 1.0, "spread": 0.0, **options}), Always())


def test_calls_below_the_knee_take_their_time_and_above_it_share():
    one = station(knee=2)
    for _ in range(2):
        assert one.begin(Call(object(), 0.0), 0.0) is None
    assert one.next_end() == 1.0
    for _ in range(2):
        one.begin(Call(object(), 0.0), 0.5)  # twice the knee: everybody at half speed
    assert one.next_end() == pytest.approx(1.5)
    one.end_next(1.5)
    one.end_next(1.5)
    assert one.next_end() == pytest.approx(2.0)  # the late two have had half of theirs


steps = st.lists(
    st.tuples(st.sampled_from(["begin", "abandon", "wait"]), st.floats(0.01, 2)), max_size=80
)


@given(steps=steps, knee=st.integers(1, 4), abandoned=st.sampled_from(["stop", "run"]))
def test_it_never_does_more_work_than_its_capacity(steps, knee, abandoned):
    one, now, begun, ended, calls = station(knee=knee, abandoned=abandoned), 0.0, 0, 0, []
    for step, pause in steps:
        if step == "begin":
            calls.append(Call(object(), now))
            begun += one.begin(calls[-1], now) is None
        elif step == "abandon" and calls:
            call = calls.pop()
            if call.in_service:
                one.abandon(call, now)
        else:
            until = now + pause
            while one.next_end() <= until:
                now = one.next_end()
                one.end_next(now)
                ended += 1
            now = until
        one.advance(now)
        assert one.done <= knee * now + 1e-6
        assert ended <= one.done + 1e-6
        assert 0 <= one.active <= begun - ended


def test_an_outage_stops_the_work_and_a_refusal_cuts_it_off():
    from turnout.sim.scenario import Fault

    outage = Fault(kind="outage", at=0.0, lasts=10.0)
    one = station(knee=1)
    one.begin(Call(object(), 0.0), 0.0)
    assert one.turn(outage, 0.5, begins=True) == []
    assert one.next_end() == math.inf
    one.turn(outage, 10.5, begins=False)
    assert one.next_end() == pytest.approx(11.0)
    refuse = Fault(kind="refuse", at=0.0, lasts=10.0)
    assert len(one.turn(refuse, 10.6, begins=True)) == 1
    assert one.begin(Call(object(), 10.7), 10.7) == "refused"
    assert one.active == 0


def test_a_quota_answers_429_above_it():
    one = station(knee=100, quota=10.0)
    answers = [one.begin(Call(object(), n / 100), n / 100) for n in range(200)]
    assert answers.count(None) == pytest.approx(10 + 2 * 10, abs=1)
    assert set(answers) == {None, "throttled"}


def mean_time(rate, knee, spread, workers, duration=4_000.0):
    """Mean seconds from enqueue to end, by Little's law from what a run shows."""
    plain = read_scenario(
        {
            "duration": duration,
            "workers": workers,
            "arrivals": {"rate": rate},
            "service": {"time": 1.0, "spread": spread, "knee": knee, "timeout": 1e6},
            "policy": [{"name": "p"}],
            "healthy": {"window": 1.0},
        }
    )
    run = simulate(plain, plain.contenders[0], 7)
    inside, total = 0.0, 0.0
    for point in run.points:
        inside += point.arrived - point.goodput
        total += inside
    return total / duration / rate


def test_one_worker_is_the_queue_of_the_textbooks():
    # M/M/1 at 70 %: 1 / (1 - 0.7) services in the system; M/D/1: 1 + 0.7 / (2 x 0.3).
    assert mean_time(0.7, 1, 1.0, 1, 40_000.0) == pytest.approx(1 / 0.3, rel=0.1)
    assert mean_time(0.7, 1, 0.0, 1, 40_000.0) == pytest.approx(1 + 0.7 / 0.6, rel=0.1)


def test_many_workers_on_one_server_share_it():
    # Processor sharing has the mean of M/M/1, whatever the distribution of the work.
    assert mean_time(0.7, 1, 0.5, 5_000, 40_000.0) == pytest.approx(1 / 0.3, rel=0.15)


def test_several_servers_follow_erlang():
    servers, load = 5, 3.5
    terms = [load**n / math.factorial(n) for n in range(servers)]
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    waiting = last / (sum(terms) + last)
    expected = 1.0 + waiting / (servers - load)
    assert mean_time(load, servers, 1.0, servers, 20_000.0) == pytest.approx(expected, rel=0.1)
