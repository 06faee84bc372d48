"""The low-water marks: when a claim looks from the start again, and when looks are put off."""

from __future__ import annotations

import pytest

from turnout.job import JobId, LeasedJob
from turnout.store.server import marks as module
from turnout.store.server.marks import LONGEST, SHORT_SWEEP, SWEEP, Marks


class Clock:
    """A clock that stands still until a trip takes time."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(module.random, "uniform", lambda low, high: (low + high) / 2)
    return made


def job(n: int) -> LeasedJob:
    return LeasedJob(
        JobId(f"j{n}"), "mail", "default", "[]", 0, 0, 0, 0.0, float(n), None, None, None, None, 7
    )


def trip(
    marks: Marks, clock: Clock, n: int, *, seconds: float, look: float = 0.0
) -> tuple[bool, bool]:
    """Make a trip that brings job n; tell whether it looked from the start, and might have."""
    age, known, short = marks.look()
    clock.now += seconds if known else seconds + look
    marks.learn(age, [job(n)])
    return not known, short


def test_a_claim_begins_behind_the_last_and_looks_from_the_start_once_in_a_while(clock):
    marks = Marks()
    looks = [trip(marks, clock, n, seconds=0.01)[0] for n in range(400)]
    assert looks[0]
    assert sum(looks) == pytest.approx(400 * 0.01 / SWEEP, abs=1)


def test_what_came_back_is_looked_for_at_once(clock):
    marks = Marks()
    trip(marks, clock, 1, seconds=0.01)
    assert marks.look()[1] == [("default", 0, 1.0, "j1")]
    marks.clear()
    assert marks.look()[1] == []


def test_on_a_server_whose_trips_all_take_long_looks_are_not_put_off(clock):
    marks = Marks()
    answers = [trip(marks, clock, n, seconds=0.1) for n in range(100)]
    assert sum(looked for looked, _ in answers) >= 100 * 0.1 / SWEEP / 1.2
    assert sum(short for _, short in answers) >= 100 * 0.1 / SHORT_SWEEP / 2.5


def test_looks_that_take_far_longer_than_a_trip_come_seldom(clock):
    marks = Marks()
    spent, began = 0.0, clock.now
    for n in range(20_000):
        looked, _ = trip(marks, clock, n, seconds=0.01, look=0.3)
        spent += 0.3 if looked else 0.0
    assert spent / (clock.now - began) < 0.05


def test_a_look_is_never_put_off_for_longer_than_half_a_minute(clock):
    marks = Marks()
    trip(marks, clock, 1, seconds=0.01)
    clock.now += SWEEP * 2
    trip(marks, clock, 2, seconds=20.0)
    clock.now += LONGEST + 0.1
    assert trip(marks, clock, 3, seconds=0.01)[0]
