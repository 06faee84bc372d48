from __future__ import annotations

import math
import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.backoff import MAX_DELAY
from turnout.errors import ConfigError
from turnout.retry import (
    as_wait,
    custom,
    exactly,
    exponential,
    fixed,
    polynomial,
)


class Low(random.Random):
    def random(self):
        return 0.0


class Middle(random.Random):
    def random(self):
        return 0.5


class High(random.Random):
    def random(self):
        return math.nextafter(1.0, 0.0)


def test_polynomial_is_power_and_base():
    waits = [polynomial().delay(n, OSError(), Middle()) for n in (1, 2, 3)]
    assert waits == [16, 31, 96]


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
