"""Marks of deploys on every store: kept in order, the newest of them, from many at once."""

from __future__ import annotations

import time

import pytest

from turnout.deploys import KEPT, LONGEST, MOST, Deploy, Deploys
from turnout.errors import ConfigError

DAY = 86_400.0


class Clock:
    def __init__(self) -> None:
        self.now = round(time.time(), 3)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def deploys(store, clock):
    return Deploys(store, clock)


def labels(deploys):
    return [one.label for one in deploys.all()]


def test_a_mark_says_what_when_and_who(deploys, clock):
    marked = deploys.mark("  v1.42 ", by="ann")
    assert marked == Deploy(label="v1.42", at=clock.now, by="ann")
    assert deploys.all() == [marked]


def test_the_newest_comes_first_and_the_same_label_may_come_again(deploys, clock):
    for label in ("v1", "v2", "v1"):
        clock.now += 60
        deploys.mark(label)
    assert labels(deploys) == ["v1", "v2", "v1"]


def test_the_newest_are_kept_and_the_oldest_make_room(deploys, clock):
    for n in range(MOST + 60):
        clock.now += 1
        deploys.mark(f"v{n}")
    assert labels(deploys) == [f"v{n}" for n in range(MOST + 59, 59, -1)]


def test_the_longest_labels_fit_too(deploys):
    for _ in range(60):
        deploys.mark('"' * LONGEST, by="\\" * 200)
    assert len(deploys.all()) == 60
    assert deploys.all()[0].by == "\\" * LONGEST


def test_machines_whose_clocks_differ_lose_no_marks(deploys, clock):
    for n in range(MOST // 2):
        clock.now += 60 if n % 3 else -170
        deploys.mark(f"v{n}")
    assert len(deploys.all()) == MOST // 2


def test_what_is_older_than_the_charts_go_back_is_gone(deploys, clock):
    deploys.mark("old")
    clock.now += KEPT - 1
    assert labels(deploys) == ["old"]
    clock.now += 2
    deploys.mark("new")
    assert labels(deploys) == ["new"]


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("", "label is empty: say what was deployed"),
        (" \t", "label is empty"),
        ("x" * 61, "at most 60 characters; this one has 61"),
        ("v1\nv2", "one line of printable characters"),
        ("v1\u202egnp", "one line of printable characters"),
        ("v1\0", "one line of printable characters"),
    ],
)
def test_labels_that_are_none(deploys, label, said):
    with pytest.raises(ConfigError, match=said):
        deploys.mark(label)
    assert deploys.all() == []


def test_a_name_is_cut_and_cleaned_and_never_refused(deploys):
    assert deploys.mark("v1", by="ann\n\x1b[31m\ud800" + "x" * 99).by == "ann  [31m " + "x" * 50


def test_two_who_deploy_at_once_both_leave_a_mark(store, deploys, monkeypatch):
    mark, raced = type(store).mark, []

    def meanwhile(self, marks, **more):
        if marks[0].most and not raced:
            raced.append(True)
            deploys.mark("theirs")
        return mark(self, marks, **more)

    monkeypatch.setattr(type(store), "mark", meanwhile)
    deploys.mark("ours")
    assert sorted(labels(deploys)) == ["ours", "theirs"]
