"""Limits by count, over marks: what is never exceeded, and what a wrong declaration says."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.errors import ConfigError
from turnout.limits import Mark, check_together, concurrency, rate, verdict
from turnout.limits.marks import ANY, Held, View, by_owner, check_marks, judge


class Rows:
    """The plainest store of marks: rows, counted anew each time."""

    def __init__(self):
        self.rows = {}

    def ask(self, marks, now):
        self.rows = {at: held for at, held in self.rows.items() if held.until > now}
        return by_owner(marks, self._look, self._write, now)

    def drop(self, key, owner):
        self.rows.pop((key, owner), None)

    def _look(self, mark):
        ends = sorted(held.until for (key, _), held in self.rows.items() if key == mark.key)
        over = len(ends) - mark.most
        return View(
            live=len(ends),
            latest=ends[-1] if ends else None,
            frees_at=ends[over] if mark.most and over >= 0 else None,
            own=self.rows.get((mark.key, mark.owner)),
        )

    def _write(self, mark, held):
        self.rows[mark.key, mark.owner] = held


def starts(limit, asked, rows=None):
    """The times at which jobs asking at `asked` are let in."""
    rows = rows or Rows()
    return [now for n, now in enumerate(asked) if rows.ask([limit.mark(f"j{n}")], now)[0].granted]


times = st.lists(st.floats(0, 100), min_size=1, max_size=150).map(sorted)
shapes = st.sampled_from(["bucket", "window", "leaky"])


@given(asked=times, most=st.integers(1, 9), per=st.floats(0.5, 20), burst=st.integers(1, 9))
def test_a_bucket_never_gives_more_than_its_burst_and_its_rate(asked, most, per, burst):
    got = starts(rate("k", most, per=per, burst=burst), asked)
    for i, begin in enumerate(got):
        for count, end in enumerate(got[i:], 1):
            assert count <= burst + (end - begin) * most / per + 1e-6


@given(asked=times, most=st.integers(1, 9), per=st.floats(0.5, 20))
def test_a_window_holds_wherever_it_begins(asked, most, per):
    got = starts(rate("k", most, per=per, shape="window"), asked)
    for begin in got:
        assert sum(begin <= at < begin + per for at in got) <= most


@given(asked=times, most=st.integers(1, 9), per=st.floats(0.5, 20))
def test_a_leaky_rate_keeps_its_distance(asked, most, per):
    got = starts(rate("k", most, per=per, shape="leaky"), asked)
    assert all(b - a >= per / most - 1e-9 for a, b in pairwise(got))


@given(most=st.integers(1, 9), per=st.floats(0.5, 20), shape=shapes)
def test_who_comes_back_when_told_gets_in_and_the_rate_is_used_up(most, per, shape):
    limit, rows, now, got = rate("k", most, per=per, shape=shape), Rows(), 0.0, []
    while len(got) < 30:
        answer = rows.ask([limit.mark(f"j{len(got)}")], now)[0]
        if answer.granted:
            got.append(now)
        else:
            assert answer.until > now
            now = answer.until
            assert rows.ask([limit.mark(f"j{len(got)}")], now)[0].granted
            got.append(now)
    assert (got[-1] - got[0]) * most / per - most <= 30  # nothing is left unused


steps = st.lists(
    st.tuples(st.sampled_from(["take", "drop", "renew", "wait"]), st.integers(0, 12)), max_size=120
)


@given(most=st.integers(1, 4), steps=steps)
def test_a_concurrency_limit_is_never_exceeded_and_heals(most, steps):
    limit, rows, now = concurrency("k", most, lease=5), Rows(), 0.0
    held = {}
    for step, n in steps:
        owner = f"j{n}"
        held = {who: until for who, until in held.items() if until > now}
        if step in {"take", "renew"}:
            answer = rows.ask([limit.mark(owner)], now)[0]
            assert answer.granted == (owner in held or len(held) < most)
            if answer.granted:
                held[owner] = now + 5
            else:
                assert answer.until == sorted(held.values())[len(held) - most]
        elif step == "drop":
            rows.drop("concurrency:k", owner)
            held.pop(owner, None)
        else:
            now += n
        assert len(held) <= most


def test_a_holder_that_renews_keeps_its_slot_for_ever_and_a_dead_one_loses_it():
    limit, rows = concurrency("k", 1, lease=30), Rows()
    for now in range(0, 1000, 10):
        assert rows.ask([limit.mark("alive")], float(now))[0].granted
        assert not rows.ask([limit.mark("other")], float(now))[0].granted
    answer = rows.ask([limit.mark("other")], 1000.0)[0]
    assert answer.until == 1020.0
    assert rows.ask([limit.mark("other")], 1020.0)[0].granted


def test_several_limits_of_a_job_are_taken_together_or_not_at_all():
    rows = Rows()
    wide, narrow = concurrency("wide", 2), concurrency("narrow", 1)
    first = rows.ask([wide.mark("a"), narrow.mark("a"), wide.mark("b"), narrow.mark("b")], 0.0)
    assert [answer.granted for answer in first] == [True, True, False, False]
    assert set(rows.rows) == {("concurrency:wide", "a"), ("concurrency:narrow", "a")}
    assert [a.granted for a in rows.ask([wide.mark("c")], 0.0)] == [True]


def test_a_token_is_not_taken_twice_by_a_repeated_call():
    limit, rows = rate("k", 1, per=60, burst=2), Rows()
    one = rows.ask([limit.mark("a")], 0.0)
    assert rows.ask([limit.mark("a")], 1.0) == one
    assert rows.ask([limit.mark("b")], 1.0)[0].granted
    assert not rows.ask([limit.mark("c")], 1.0)[0].granted


def test_compare_and_set():
    held = View(live=1, own=Held(50.0, "two"))
    new = Mark(key="k", owner="state", ttl=60, value="three", expect="two")
    assert judge(held, new, 0.0).granted
    late = Mark(key="k", owner="state", ttl=60, value="three", expect="one")
    assert judge(held, late, 0.0) == judge(held, late, 9.0)
    assert (judge(held, late, 0.0).granted, judge(held, late, 0.0).value) == (False, "two")
    first = Mark(key="k", owner="state", ttl=60, value="one", expect=None)
    assert judge(View(live=0), first, 0.0).granted
    assert not judge(held, first, 0.0).granted
    assert first.expect != ANY


def test_a_verdict_says_which_limit_and_when():
    limit, rows = concurrency("stripe", 1), Rows()
    assert verdict(limit, rows.ask([limit.mark("a")], 0.0)[0]).allowed
    refused = verdict(limit, rows.ask([limit.mark("b")], 0.0)[0])
    assert (refused.allowed, refused.until) == (False, 30.0)
    assert "stripe" in refused.reason
    assert "full" in refused.reason


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (lambda: concurrency("k", 0), ["most", "1"]),
        (lambda: concurrency("", -1, lease=0, on_conflict="wiat"), ["4 faults", "key", "wiat"]),
        (lambda: concurrency("k", True), ["most", "True"]),
        (lambda: rate("k", 0, per=0), ["2 faults", "most", "per"]),
        (lambda: rate("k", -5, per=float("nan")), ["-5", "nan"]),
        (lambda: rate("k", 5, per=float("inf")), ["inf"]),
        (lambda: rate("k", 5, per=1, burst=0), ["burst"]),
        (lambda: rate("k", 5, per=1, burst=3, shape="window"), ["burst", "window"]),
        (lambda: rate("k", 5, per=1, burst=3, shape="leaky"), ["burst", "leaky"]),
        (lambda: rate("k", 5, per=1, shape="bukket"), ["bukket", "bucket"]),
        (lambda: rate("k\n", 5, per=1), ["key"]),
        (lambda: rate("k", 10**9, per=1), ["100,000"]),
        (lambda: check_together([concurrency("k", 1), concurrency("k", 2)]), ["both", "'k'"]),
        (lambda: check_together([concurrency("k", 1)] * 2), []),
        (lambda: check_together(["stripe", 3]), ["2 faults", "'stripe'"]),
    ],
)
def test_a_wrong_declaration_is_refused_with_every_fault(declare, words):
    if not words:
        assert declare()
        return
    with pytest.raises(ConfigError) as caught:
        declare()
    for word in words:
        assert word in str(caught.value)


def test_equal_limits_twice_are_refused_unless_they_are_one():
    with pytest.raises(ConfigError, match="twice"):
        check_together([concurrency("k", 1), concurrency("k", 1)])
    both = check_together([concurrency("k", 1), rate("k", 5, per=timedelta(minutes=1))])
    assert [limit.kind for limit in both] == ["concurrency", "bucket"]


def test_marks_are_checked_where_they_enter():
    wrong = Mark(key="", owner="x" * 300, ttl=-1, most=-1, value="v" * 20_000)
    with pytest.raises(ConfigError) as caught:
        check_marks([wrong])
    for word in ("key", "owner", "ttl", "most", "value"):
        assert word in str(caught.value)
    twice = Mark(key="k", owner="o", ttl=1)
    with pytest.raises(ConfigError, match="twice"):
        check_marks([twice, twice])
    check_marks([twice])
