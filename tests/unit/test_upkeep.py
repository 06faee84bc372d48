"""The table of chores: what runs when, and what goes before."""

from __future__ import annotations

import time

import pytest

from turnout.worker.upkeep import Chore, Upkeep


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made)
    return made


def table(clock: Clock, ran: list[str], **seconds: float) -> Upkeep:
    """Make chores of these names, each of which takes that long and is due every second."""

    def work(name: str, takes: float) -> None:
        ran.append(name)
        clock.now += takes

    return Upkeep(
        [
            Chore(name, 1.0, lambda name=name, takes=takes: work(name, takes), due=clock.now)
            for name, takes in seconds.items()
        ]
    )


def test_what_is_due_runs_once_in_the_order_of_the_table(clock):
    ran: list[str] = []
    upkeep = table(clock, ran, beat=0.0, limits=0.1, reap=0.1)
    upkeep.run_due()
    upkeep.run_due()
    assert ran == ["beat", "limits", "reap"]


def test_the_first_goes_before_whatever_follows_a_slow_chore(clock):
    ran: list[str] = []
    table(clock, ran, beat=0.0, limits=3.0, metrics=0.1, reap=3.0, prune=0.1).run_due()
    assert ran == ["beat", "limits", "beat", "metrics", "reap", "beat", "prune"]


def test_a_slow_first_is_no_reason_to_leave_out_the_others(clock):
    ran: list[str] = []
    table(clock, ran, beat=3.0, limits=0.1, reap=0.1).run_due()
    assert ran == ["beat", "limits", "beat", "reap"]
