from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.backoff import MAX_DELAY
from turnout.errors import ConfigError, Discard, Retry
from turnout.retry import (
    Policy,
    discard_on,
    exactly,
    qualified_name,
    retry_on,
)

NOW = 1_700_000_000.0
DAY = 86_400.0


class Low(random.Random):
    def random(self):
        return 0.0


class Middle(random.Random):
    def random(self):
        return 0.5


class High(random.Random):
    def random(self):
        return math.nextafter(1.0, 0.0)


def decide(policy, error, attempt=1, counts=None, rng=None):
    return policy.decide(error, attempt, counts or {}, NOW, rng or Middle())


def test_25_default_attempts_span_about_20_days():
    policy, counts, waited, runs = Policy(), {}, 0.0, 0
    while True:
        runs += 1
        decision = decide(policy, OSError(), runs, counts)
        if decision.kind == "dead":
            break
        counts = decision.counts
        waited += decision.run_at - NOW
    assert runs == 25
    assert 20 * DAY < waited < 21 * DAY


# ---- rules


class Base(Exception):
    pass


class Narrow(Base):
    pass


def test_the_key_names_the_exceptions():
    assert retry_on(ValueError, Base).key == f"retry:ValueError,{__name__}.Base"
    assert discard_on(KeyError).key == "discard:KeyError"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (retry_on, "at least one"),
        (discard_on, "at least one"),
        (lambda: retry_on(KeyboardInterrupt), "KeyboardInterrupt"),
        (lambda: retry_on(SystemExit), "SystemExit"),
        (lambda: retry_on(BaseException), "subclasses of Exception"),
        (lambda: retry_on(ValueError("x")), "exception classes"),
        (lambda: retry_on(int), "exception classes"),
        (lambda: retry_on("ValueError"), "exception classes"),
        (lambda: retry_on((ValueError, KeyError)), "exception classes"),
        (lambda: retry_on(Retry), "how a task says"),
        (lambda: discard_on(Discard), "how a task says"),
        (lambda: retry_on(ValueError, attempts=0), "attempts=1 or more"),
        (lambda: retry_on(ValueError, attempts=True), "attempts=1 or more"),
        (lambda: retry_on(ValueError, attempts=2.5), "attempts=1 or more"),
        (lambda: retry_on(ValueError, then="mark"), "then="),
        (lambda: discard_on(ValueError, then=3), "then="),
        (lambda: Policy(attempts=0), "attempts=1 or more"),
        (lambda: Policy([ValueError]), "on_error="),
        (lambda: Policy(retry_on(ValueError)), "brackets"),
        (lambda: Policy([retry_on(Base), discard_on(Narrow)]), "narrower rule first"),
        (lambda: Policy([retry_on(Base), retry_on(Base)]), "can never apply"),
    ],
)
def test_senseless_rules_are_refused(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_a_policy_is_frozen():
    with pytest.raises(AttributeError):
        Policy().attempts = 3


# ---- decisions


def test_the_first_rule_that_matches_decides():
    policy = Policy([discard_on(Narrow), retry_on(Base, attempts=3)])
    assert decide(policy, Narrow()).kind == "discard"
    assert decide(policy, Base()).kind == "retry"
    assert decide(policy, Base()).counts == {f"retry:{__name__}.Base": 1}


def test_attempts_count_all_runs_the_first_included():
    policy = Policy([retry_on(ValueError, attempts=3, wait=exactly(1))])
    counts, kinds = {}, []
    for attempt in (1, 2, 3):
        decision = decide(policy, ValueError(), attempt, counts)
        counts = decision.counts
        kinds.append(decision.kind)
    assert kinds == ["retry", "retry", "dead"]
    assert decide(Policy([retry_on(ValueError, attempts=1)]), ValueError()).kind == "dead"


def test_each_rule_counts_for_itself_and_sets_the_delay():
    policy = Policy([retry_on(OSError, attempts=3), retry_on(ValueError, attempts=3)])
    before = {"retry:OSError": 2, "default": 7}
    decision = decide(policy, ValueError(), attempt=10, counts=before)
    assert decision.kind == "retry"
    assert decision.run_at == NOW + 16
    assert decision.counts == {"retry:OSError": 2, "default": 7, "retry:ValueError": 1}
    assert before == {"retry:OSError": 2, "default": 7}
    assert decide(policy, OSError(), 10, before).kind == "dead"
    assert decide(policy, KeyError(), 10, before).run_at == NOW + 8**4 + 15


def test_then_comes_only_with_the_end():
    policy = Policy([retry_on(OSError, attempts=2, then=print), discard_on(KeyError, then=repr)])
    assert decide(policy, OSError()).then is None
    assert decide(policy, OSError(), 2, {"retry:OSError": 1}).then is print
    assert decide(policy, KeyError()).then is repr
    dead = decide(Policy(attempts=1), ValueError())
    assert (dead.kind, dead.then, dead.run_at) == ("dead", None, None)


def test_the_reason_says_it_in_words():
    policy = Policy([retry_on(OSError, attempts=2)])
    assert "1 of 2 under retry_on(OSError), again in 16.0 s" in decide(policy, OSError()).reason
    dead = decide(policy, OSError(), 2, {"retry:OSError": 1})
    assert dead.reason == "attempt 2: 2 of 2 attempts used under retry_on(OSError)"
    assert "25" in decide(Policy(), OSError(), 25, {"default": 24}).reason


def test_retry_raised_by_the_task_counts_under_default_whatever_the_rules():
    policy = Policy([discard_on(Exception)], attempts=3)
    decision = decide(policy, Retry(after=100), rng=Low())
    assert (decision.kind, decision.run_at) == ("retry", NOW + 100)
    assert decide(policy, Retry(after=100), rng=High()).run_at == pytest.approx(NOW + 110)
    assert decision.counts == {"default": 1}
    assert decide(policy, Retry()).run_at == NOW + 16
    assert decide(policy, Retry(after=1), 3, {"default": 2}).kind == "dead"


def test_retry_after_replaces_the_shape_and_is_never_early():
    class Busy(Exception):
        retry_after = 50

    policy = Policy([retry_on(Busy, attempts=2, wait=exactly(1))])
    assert decide(policy, Busy(), rng=Low()).run_at == NOW + 50
    assert decide(policy, Busy(), rng=High()).run_at == pytest.approx(NOW + 55)
    assert decide(policy, Busy(), 2, {"retry:" + qualified_name(Busy): 1}).kind == "dead"


@given(
    counts=st.dictionaries(st.sampled_from(["default", "retry:OSError"]), st.integers(0, 40)),
    error=st.sampled_from([OSError(), ValueError(), Retry(), Retry(after=5), KeyError()]),
    seed=st.integers(),
)
def test_a_decision_adds_one_and_never_looks_back(counts, error, seed):
    policy = Policy([retry_on(OSError), discard_on(KeyError)])
    decision = policy.decide(error, 1, counts, NOW, random.Random(seed))
    assert sum(decision.counts.values()) == sum(counts.values()) + 1
    assert (decision.run_at is not None) == (decision.kind == "retry")
    if decision.run_at is not None:
        assert NOW <= decision.run_at <= NOW + MAX_DELAY
