from __future__ import annotations

import io
import math
import random
from datetime import UTC, datetime, timedelta, timezone
from email.message import Message
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.backoff import MAX_DELAY
from turnout.errors import ConfigError, Discard, Retry
from turnout.failure import MAX_MESSAGE
from turnout.retry import (
    Policy,
    as_wait,
    custom,
    describe,
    discard_on,
    exactly,
    exponential,
    fixed,
    format_traceback,
    polynomial,
    qualified_name,
    retry_after,
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


# ---- shapes


def test_polynomial_is_power_and_base():
    waits = [polynomial().delay(n, OSError(), Middle()) for n in (1, 2, 3)]
    assert waits == [16, 31, 96]


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


def test_exponential_doubles_up_to_its_most():
    shape = exponential(first=5, factor=2, most=30)
    assert [shape.delay(n, OSError(), Middle()) for n in range(1, 6)] == [5, 10, 20, 30, 30]


def test_exactly_is_the_only_one_without_jitter():
    assert exactly(7).delay(1, OSError(), Low()) == exactly(7).delay(9, OSError(), High()) == 7
    for shape in (polynomial(), exponential(), fixed(7), custom(lambda *_: 7)):
        assert shape.delay(1, OSError(), Low()) < shape.delay(1, OSError(), High())


shapes = st.one_of(
    st.builds(
        polynomial,
        power=st.floats(0.1, 300),
        base=st.floats(0, 1e300),
        jitter=st.floats(0.01, 1),
    ),
    st.builds(
        exponential,
        first=st.floats(0.001, 1e300),
        factor=st.floats(1, 1e300),
        most=st.floats(0.001, 1e300),
        jitter=st.floats(0.01, 1),
    ),
    st.builds(fixed, st.floats(0.001, 1e300), jitter=st.floats(0.01, 1)),
    st.builds(exactly, st.floats(0, 1e300)),
    st.builds(custom, st.sampled_from([lambda *_: 1e300, lambda n, _: n, lambda *_: None])),
)


@given(shape=shapes, attempt=st.integers(1, 10**6), seed=st.integers())
def test_every_delay_is_finite_and_at_most_30_days(shape, attempt, seed):
    assert 0 <= shape.delay(attempt, OSError(), random.Random(seed)) <= MAX_DELAY


@given(attempt=st.integers(1, 24), jitter=st.floats(0.01, 1), seed=st.integers())
def test_jitter_stays_within_its_share(attempt, jitter, seed):
    plain = attempt**4 + 15
    wait = polynomial(jitter=jitter).delay(attempt, OSError(), random.Random(seed))
    assert plain * (1 - jitter) - 1e-6 <= wait <= plain * (1 + jitter) + 1e-6


def test_jitter_spreads_over_the_whole_range_also_at_the_ceiling():
    rng = random.Random(7)
    waits = [fixed(10, jitter=0.5).delay(1, OSError(), rng) for _ in range(2000)]
    assert min(waits) < 5.1
    assert max(waits) > 14.9
    assert abs(sum(waits) / len(waits) - 10) < 0.3
    capped = {fixed(10 * MAX_DELAY).delay(1, OSError(), rng) for _ in range(100)}
    assert len(capped) > 90


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: fixed(5, jitter=0), r"exactly\(seconds\)"),
        (lambda: fixed(5, jitter=-1), "jitter"),
        (lambda: fixed(5, jitter=1.1), "jitter"),
        (lambda: fixed(5, jitter=math.nan), "jitter"),
        (lambda: fixed(5, jitter=True), "jitter"),
        (lambda: polynomial(jitter=0), r"exactly"),
        (lambda: fixed(0), r"exactly\(0\)"),
        (lambda: fixed(-1), "zero or more"),
        (lambda: fixed("5"), "seconds or a timedelta"),
        (lambda: exactly(math.inf), "finite"),
        (lambda: exponential(factor=0.5), "factor"),
        (lambda: exponential(first=0), "first"),
        (lambda: polynomial(power=0), "power"),
        (lambda: polynomial(base=math.nan), "base"),
        (lambda: as_wait("soon"), "wait="),
        (lambda: as_wait(True), "wait="),
        (lambda: as_wait(int), "wait="),
        (lambda: custom(None), "plain function"),
    ],
)
def test_senseless_shapes_are_refused(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_an_async_wait_function_is_refused():
    async def later(_attempt, _error):
        return 5

    with pytest.raises(ConfigError, match="plain function"):
        as_wait(later)


def test_wait_option_takes_numbers_timedeltas_shapes_and_functions():
    assert as_wait(None) == polynomial()
    assert as_wait(5) == as_wait(timedelta(seconds=5)) == fixed(5)
    assert as_wait(exactly(3)) == exactly(3)
    seen = []
    shape = as_wait(lambda attempt, error: seen.append((attempt, error)) or timedelta(seconds=40))
    error = OSError("x")
    assert shape.delay(3, error, Middle()) == 40
    assert seen == [(3, error)]


def raises(*_):
    raise RuntimeError


@pytest.mark.parametrize(
    "fn",
    [
        raises,
        lambda: 5,
        lambda *_: None,
        lambda *_: "5",
        lambda *_: -1,
        lambda *_: math.nan,
        lambda *_: math.inf,
        lambda *_: True,
        lambda *_: 10**400,
        lambda *_: exec("raise SystemExit"),
    ],
)
def test_a_broken_wait_function_falls_back_to_polynomial(fn):
    assert custom(fn).delay(2, OSError(), Middle()) == 31


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


# ---- Retry-After


def told(**attributes):
    error = Exception()
    error.__dict__.update(attributes)
    return retry_after(error, NOW)


def headers(value, name="Retry-After"):
    return SimpleNamespace(headers={name: value})


def later(seconds):
    return datetime.fromtimestamp(NOW + seconds, UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (30, 30),
        (1.5, 1.5),
        (0, 0),
        (-5, 0),
        (10**9, DAY),
        (math.inf, DAY),
        (timedelta(minutes=2), 120),
        (timedelta(-1), 0),
        (later(60), 60),
        (later(-60), 0),
        (later(60).astimezone(timezone(timedelta(hours=5))), 60),
        ("45", 45),
        (" 4.5 ", 4.5),
        (b"45", 45),
        (later(90).strftime("%a, %d %b %Y %H:%M:%S GMT"), 90),
        (later(90).strftime("%a, %d %b %Y %H:%M:%S -0000"), 90),
        (None, None),
        (True, None),
        (math.nan, None),
        (10**400, None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        ("\ud800", None),
        (b"\xff", None),
        (later(60).replace(tzinfo=None), None),
        ([30], None),
        (object(), None),
    ],
)
def test_what_a_service_asked_for(value, seconds):
    assert told(retry_after=value) == seconds
    assert told(response=headers(value)) == seconds
    assert told(headers={"retry-after": value}) == seconds


def test_headers_of_many_makes():
    message = Message()
    message["RETRY-AFTER"] = "12"
    assert told(headers=message) == 12
    assert told(headers={b"Retry-After": b"13"}) == 13
    assert told(headers={"x": "1", 3: "4"}) is None
    assert told(response=headers(9, "rEtRy-aFtEr")) == 9
    assert told(response=None, headers=None) is None
    assert told(headers=[("Retry-After", "3")]) is None
    assert told(retry_after="later", response=headers(7)) == 7


def test_errors_that_raise_when_asked_are_left_alone():
    class Nasty(Exception):
        @property
        def retry_after(self):
            raise RuntimeError

        @property
        def response(self):
            raise SystemExit

        headers = SimpleNamespace(items=lambda: [("Retry-After", 5)])

    assert retry_after(Nasty(), NOW) == 5

    class Endless:
        def __getattr__(self, name):
            raise RecursionError

    assert told(response=Endless(), headers=Endless()) is None


# ---- telling an exception


def test_qualified_names():
    assert qualified_name(ValueError) == "ValueError"
    assert qualified_name(Base) == f"{__name__}.Base"
    assert qualified_name(io.UnsupportedOperation) == "io.UnsupportedOperation"
    assert qualified_name(type("Odd", (Exception,), {"__module__": "a\0b"})) == "a\ufffdb.Odd"


class Said(Exception):
    def __init__(self, said):
        super().__init__()
        self.said = said

    def __str__(self):
        return self.said() if callable(self.said) else self.said


class Sly(str):
    __slots__ = ()

    def __len__(self):
        raise RuntimeError

    def __getitem__(self, _key):
        raise RuntimeError


def exits():
    raise SystemExit


def recurses():
    return recurses()


@pytest.mark.parametrize("said", [raises, exits, recurses, 5, None, lambda: b"bytes"])
def test_describe_survives_str(said):
    name, message = describe(Said(said))
    assert name.endswith("Said")
    assert message.startswith("<no message: str() of it raised")
    assert "Said" in format_traceback(Said(said))


def test_describe_cuts_and_cleans():
    assert describe(ValueError("a\0b\ud800c\U0001f600")) == (
        "ValueError",
        "a\ufffdb\ufffdc\U0001f600",
    )
    _, long = describe(ValueError("x" * 10**6))
    assert len(long) == MAX_MESSAGE
    assert long.endswith("x\u2026")
    _, sly = describe(Said(Sly("hello")))
    assert (sly, type(sly)) == ("hello", str)


@given(st.text(st.characters(), max_size=3000))
def test_what_is_told_can_be_stored(text):
    error = ValueError(text + "\ud9ff\0")
    name, message = describe(error)
    for told_text in (name, message, format_traceback(error, 500)):
        assert "\0" not in told_text
        told_text.encode()
    assert len(message) <= MAX_MESSAGE
    assert len(format_traceback(error, 500)) <= 500


def deep(left):
    return deep(left - 1) if left else 1 / 0


def alternately(n):
    return other(n + 1)


def other(n):
    return alternately(n + 1)


def test_tracebacks_show_both_ends_and_stay_short():
    try:
        deep(3)
    except ZeroDivisionError as error:
        text = format_traceback(error)
        assert text.startswith("Traceback (most recent call last):")
        assert text.endswith("ZeroDivisionError: division by zero\n")
    try:
        alternately(0)
    except RecursionError as error:
        text = format_traceback(error)
        assert len(text) <= 8_000
        assert text.startswith("Traceback")
        assert "characters left out" in text
        assert "RecursionError" in text[-200:]
        assert format_traceback(error, 10) == text[-10:]
        assert format_traceback(error, 0) == ""


def test_causes_that_go_in_circles_end():
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert "one" in format_traceback(one)
