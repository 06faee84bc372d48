"""Limits that learn: adaptive concurrency, breaker, retry budget, cooldown, and all as one."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.errors import ConfigError
from turnout.limits import (
    Adaptive,
    Breaker,
    BudgetState,
    Cooldown,
    Dependency,
    RetryBudget,
    Sample,
    sample_of,
)

OK, FAILED, TIMEOUT = Sample("ok", 0.1), Sample("failed", 0.1), Sample("timeout", 1.0)
kinds = st.sampled_from(["ok", "failed", "timeout", "throttled"])
samples = st.builds(Sample, kinds, st.floats(0, 30), st.none() | st.floats(0, 1e6))
story = st.lists(st.tuples(samples, st.floats(0, 20), st.integers(1, 60)), max_size=150)
rng = random.Random(1)


class TestAdaptive:
    @given(story=story, floor=st.integers(1, 5), room=st.integers(0, 30))
    def test_stays_between_its_floor_and_its_most(self, story, floor, room):
        rule = Adaptive(floor=floor, start=floor + room // 2, most=floor + room)
        state, now = rule.initial(), 0.0
        for sample, pause, in_flight in story:
            now += pause
            before = state.limit
            state = rule.after(state, sample, in_flight, now)
            assert floor <= state.limit <= floor + room
            assert state.limit >= before * rule.cut - 1e-9
            if sample.is_good:
                assert before <= state.limit <= before + rule.step
            else:
                assert state.limit <= before
            for busy in range(floor + room + 2):
                assert rule.admit(state, busy).allowed == (busy < int(state.limit))

    def test_grows_by_one_for_each_round_that_uses_it(self):
        rule = Adaptive(start=10)
        state = rule.initial()
        for _ in range(11):
            state = rule.after(state, OK, 10, 1.0)
        assert 10.9 < state.limit < 11.1
        idle = rule.initial()
        for _ in range(100):
            idle = rule.after(idle, OK, 2, 1.0)
        assert idle.limit == 10  # what is not used teaches nothing

    def test_is_cut_at_most_once_a_second_and_down_to_its_floor(self):
        rule = Adaptive(start=20)
        state = rule.initial()
        for n in range(500):
            state = rule.after(state, FAILED, 20, 100.0 + n / 1000)
        assert state.limit == 10
        for n in range(2_000):
            state = rule.after(state, FAILED, 1, 101.0 + n / 50)
        assert state.limit == 1

    def test_one_failure_among_many_successes_is_borne(self):
        rule, state = Adaptive(start=20), Adaptive(start=20).initial()
        for n in range(100):
            state = rule.after(state, FAILED if n % 10 == 0 else OK, 1, n / 10)
        assert state.limit >= 14  # the very first calls may cut once, the rest never


class TestBreaker:
    rule = Breaker(share=0.5, min_calls=20, window=10, first=5, longest=20, ramp=4)

    def opened(self, now=100.0):
        state = self.rule.initial()
        for _ in range(20):
            state = self.rule.after(state, FAILED, now, rng)
        assert state.phase == "open"
        return state

    def test_a_quarter_of_successes_does_not_keep_it_closed(self):
        state = self.rule.initial()
        for n in range(40):
            state = self.rule.after(state, OK if n % 4 == 0 else FAILED, n / 10, rng)
        assert state.phase == "open"

    def test_failures_below_its_share_or_few_calls_do_not_open_it(self):
        state = self.rule.initial()
        for n in range(400):
            state = self.rule.after(state, FAILED if n % 3 == 0 else OK, n / 10, rng)
        assert state.phase == "closed"
        few = self.rule.initial()
        for n in range(100):
            few = self.rule.after(few, FAILED, n * 1.0, rng)  # 10 in any 10 seconds
        assert few.phase == "closed"

    def test_slow_calls_count_as_bad(self):
        rule, slow = Breaker(slow_after=2.0), Sample("ok", 3.0)
        state = rule.initial()
        for _ in range(20):
            state = rule.after(state, slow, 1.0, rng)
        assert state.phase == "open"

    def test_open_lets_nothing_through_before_its_time(self):
        state = self.opened()
        assert 104.0 <= state.until <= 106.0
        again, verdict = self.rule.admit(state, state.until - 0.01)
        assert (verdict.allowed, verdict.until, again) == (False, state.until, state)

    def test_half_open_starts_slowly_and_closes(self):
        state, now, rounds = self.opened(), 110.0, []
        while state.phase != "closed":
            started = 0
            while True:
                state, verdict = self.rule.admit(state, now)
                if not verdict.allowed:
                    break
                started += 1
            rounds.append(started)
            now += 0.1
            for _ in range(started):
                state = self.rule.after(state, OK, now, rng)
        assert rounds == [1, 2, 4]
        assert state.openings == 1  # not forgotten before it was closed for a window
        state = self.rule.after(state, OK, now + 11, rng)
        assert state.openings == 0

    def test_a_failed_probe_opens_it_for_twice_as_long_up_to_its_longest(self):
        state, lengths = self.opened(), []
        for _ in range(5):
            now = state.until
            state, verdict = self.rule.admit(state, now)
            assert verdict.allowed
            state = self.rule.after(state, FAILED, now + 0.1, rng)
            lengths.append(state.until - state.since)
        for length, about in zip(lengths, (10, 20, 20, 20, 20), strict=True):
            assert 0.8 * about <= length <= 1.2 * about

    def test_calls_from_before_say_nothing_to_a_half_open_breaker(self):
        state = self.opened()
        now = state.until
        state, _ = self.rule.admit(state, now)
        assert self.rule.after(state, TIMEOUT, now + 0.5, rng) == state
        assert self.rule.after(state, TIMEOUT, now + 1.0, rng).phase == "open"

    def test_a_probe_whose_worker_died_does_not_hold_it_half_open_for_ever(self):
        state = self.opened()
        now = state.until
        state, _ = self.rule.admit(state, now)
        assert not self.rule.admit(state, now + 59)[1].allowed
        state, verdict = self.rule.admit(state, now + 60)
        assert verdict.allowed
        assert state.round == 1

    def test_by_hand(self):
        state = self.rule.opened(self.rule.initial(), 5.0)
        assert not self.rule.admit(state, 1e9)[1].allowed
        assert self.rule.admit(self.rule.closed(6.0), 6.0)[1].allowed

    @given(story=story)
    def test_its_transitions_are_those_drawn(self, story):
        state, now = self.rule.initial(), 1.0
        drawn = {
            ("closed", "open"), ("open", "half-open"), ("half-open", "open"),
            ("half-open", "closed"),
        }  # fmt: skip
        for sample, pause, _ in story:
            now += pause
            for step in ("admit", "after"):
                before = state
                if step == "admit":
                    state, verdict = self.rule.admit(state, now)
                    assert verdict.allowed or state.phase != "closed"
                    if before.phase == "open" and now < before.until:
                        assert not verdict.allowed
                else:
                    state = self.rule.after(state, sample, now, rng)
                assert state.phase == before.phase or (before.phase, state.phase) in drawn
                assert 0 <= state.started <= state.round <= 4


class TestBudget:
    @given(attempts=st.lists(st.tuples(st.integers(1, 4), st.floats(0, 3)), max_size=200))
    def test_retries_never_exceed_it(self, attempts):
        rule = RetryBudget(share=0.2, floor=0.1, most=10)
        state, now, firsts, retries = rule.initial(0.0), 0.0, 0, 0
        for attempt, pause in attempts:
            now += pause
            state, verdict = rule.admit(state, attempt, now)
            assert 0 <= state.tokens <= 10
            if attempt == 1:
                assert verdict.allowed
                firsts += 1
            elif verdict.allowed:
                retries += 1
            else:
                assert rule.admit(state, attempt, verdict.until)[1].allowed
            assert retries <= 10 + 0.2 * firsts + 0.1 * now + 1e-6

    def test_a_service_that_is_well_again_is_retried_ever_faster(self):
        rule = RetryBudget(share=0.2, floor=0.1, most=10)
        state, good = BudgetState(1.0, 0.0, streak=4), Sample("ok", 0.1, attempt=2)
        for _ in range(50):  # in the same moment: time has brought no token
            state, verdict = rule.admit(state, 2, 0.0)
            assert verdict.allowed
            state = rule.after(state, good, 0.0)
            assert state.tokens <= 10
        assert state.tokens > 5, "more may run at once"

    @pytest.mark.parametrize("sample", [Sample("ok", 0.1), Sample("failed", 0.1, attempt=2)])
    def test_first_attempts_and_failures_give_nothing_back(self, sample):
        state = BudgetState(1.0, 0.0, streak=4)
        assert RetryBudget().after(state, sample, 0.0).tokens == 1.0

    def test_a_sick_service_gives_nothing_back_though_some_calls_succeed(self):
        rule, state = RetryBudget(), BudgetState(1.0, 0.0, streak=5)
        good, bad = Sample("ok", 0.1, attempt=2), Sample("timeout", 1.0, attempt=2)
        for sample in [bad, good, good, good, good] * 20:
            state = rule.after(state, sample, 0.0)
        assert state.tokens == 1.0


class TestCooldown:
    @given(asked=st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 100)), min_size=1))
    def test_nobody_calls_before_the_longest_wish_is_over(self, asked):
        rule, state, now, latest = Cooldown(), Cooldown().initial(), 0.0, 0.0
        for seconds, pause in asked:
            now += pause
            state = rule.after(state, Sample("throttled", 0.1, seconds), now)
            latest = max(latest, now + min(seconds or rule.unnamed, 86_400))
            assert state.until == latest
            verdict = rule.admit(state, now, rng)
            assert verdict.allowed == (now >= latest)
            if not verdict.allowed:
                assert verdict.until >= latest
        assert rule.after(state, FAILED, now) == state

    def test_who_was_sent_away_comes_back_spread(self):
        state = Cooldown().after(Cooldown().initial(), Sample("throttled", 0.1, 100.0), 0.0)
        back = {Cooldown().admit(state, 1.0, rng).until for _ in range(50)}
        assert len(back) > 40
        assert all(100 <= one <= 110 for one in back)


class HTTPError(Exception):
    def __init__(self, status, headers=None):
        self.response = SimpleNamespace(status_code=status, headers=headers or {})


class ReadTimeout(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "kind", "asked"),
    [
        (None, "ok", None),
        (ValueError(), "failed", None),
        (TimeoutError(), "timeout", None),
        (ReadTimeout(), "timeout", None),
        (HTTPError(429), "throttled", None),
        (HTTPError(429, {"Retry-After": "30"}), "throttled", 30.0),
        (HTTPError(503, {"retry-after": "5"}), "throttled", 5.0),
        (HTTPError(503), "failed", None),
        (HTTPError(500), "failed", None),
    ],
)
def test_a_call_is_read_from_what_it_raised(error, kind, asked):
    assert sample_of(error, 0.5, 0.0) == Sample(kind, 0.5, asked)


def test_an_error_whose_properties_raise_is_a_failure():
    class Nasty(Exception):
        def __getattr__(self, name):
            raise RuntimeError

    assert sample_of(Nasty(), 0.5, 0.0) == Sample("failed", 0.5)


class TestDependency:
    @given(story=st.lists(st.tuples(samples, st.floats(0, 5), st.booleans()), max_size=200))
    def test_never_has_more_under_way_than_its_limit_at_the_start(self, story):
        rule = Dependency(key="stripe", adaptive=Adaptive(start=5, most=8))
        state, now, running = rule.initial(0.0), 0.0, 0
        for sample, pause, is_start in story:
            now += pause
            if is_start:
                room = running < int(state.adaptive.limit)
                state, verdict = rule.admit(state, 1, now, rng)
                running += verdict.allowed
                assert room or not verdict.allowed
            elif running:
                state = rule.after(state, sample, now, rng)
                running -= 1
            assert state.in_flight == running <= 8

    def test_a_429_holds_for_everybody(self):
        rule = Dependency(key="stripe")
        state, verdict = rule.admit(rule.initial(0.0), 1, 0.0, rng)
        assert verdict.allowed
        state = rule.after(state, Sample("throttled", 0.1, 60.0), 0.1, rng)
        _, verdict = rule.admit(state, 1, 30.0, rng)
        assert not verdict.allowed
        assert 60.1 <= verdict.until <= 66.2

    def test_who_is_refused_pays_nothing(self):
        rule = Dependency(key="k", adaptive=Adaptive(start=1), budget=RetryBudget(most=1))
        state, verdict = rule.admit(rule.initial(0.0), 1, 0.0, rng)
        assert verdict.allowed
        again, verdict = rule.admit(state, 2, 0.0, rng)
        assert not verdict.allowed
        assert again == state

    def test_parts_can_be_left_out(self):
        rule = Dependency(key="k", adaptive=None, breaker=None, budget=None, cooldown=None)
        state = rule.initial(0.0)
        for n in range(500):
            state, verdict = rule.admit(state, 9, 0.0, rng)
            assert verdict.allowed
            assert state.in_flight == n + 1


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (lambda: Adaptive(floor=5, start=3), ["floor <= start"]),
        (lambda: Adaptive(start=5, most=3), ["start <= most"]),
        (lambda: Adaptive(cut=1.0, step=0, floor=0), ["3 faults", "cut", "step", "floor"]),
        (lambda: Breaker(share=0, min_calls=0, first=-1), ["3 faults", "share", "min_calls"]),
        (lambda: Breaker(first=30, longest=10), ["first <= longest"]),
        (lambda: Breaker(slow_after=-2), ["slow_after"]),
        (lambda: RetryBudget(share=-0.1, floor=0), ["2 faults", "share", "floor"]),
        (lambda: Cooldown(unnamed=0), ["unnamed"]),
        (lambda: Dependency(key=""), ["key"]),
    ],
)
def test_a_contradictory_rule_is_refused_with_every_fault(declare, words):
    with pytest.raises(ConfigError) as caught:
        declare()
    for word in words:
        assert word in str(caught.value)
