"""Backoff shapes: how long to wait before a failed job runs again.

    polynomial   n**power + base         16 s, 31 s, 96 s, ... about 20 days over 24 waits
    exponential  first * factor**(n-1)   5 s, 10 s, 20 s, ... at most 6 hours
    fixed        always the same         with jitter
    exactly      always the same         the only one without jitter, and asked for by name
    custom       a function of yours     polynomial when it raises or answers with nonsense

Invariant: every delay is finite, at least 0 and at most 30 days; and every shape but `exactly`
spreads its delays, so that jobs which failed together do not come back together.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any, cast

import msgspec

from turnout.errors import ConfigError, as_seconds

__all__ = [
    "MAX_DELAY",
    "Wait",
    "WaitLike",
    "as_wait",
    "custom",
    "exactly",
    "exponential",
    "fixed",
    "polynomial",
]

MAX_DELAY = 30 * 86_400.0

WaitFunction = Callable[[int, BaseException], float | timedelta]


class Wait(msgspec.Struct, frozen=True):
    """A backoff shape. Make one by `polynomial`, `exponential`, `fixed`, `exactly` or `custom`."""

    def delay(self, attempt: int, error: BaseException, rng: Random) -> float:
        """Return the seconds to wait after failed attempt number `attempt`, counted from 1."""
        raise NotImplementedError


WaitLike = Wait | float | timedelta | WaitFunction


class Polynomial(Wait, frozen=True):
    """See `polynomial`."""

    power: float
    base: float
    jitter: float

    def delay(self, attempt: int, error: BaseException, rng: Random) -> float:  # noqa: ARG002
        """Return `attempt ** power + base`, spread."""
        return _spread(_power(attempt, self.power) + self.base, self.jitter, rng)


class Exponential(Wait, frozen=True):
    """See `exponential`."""

    first: float
    factor: float
    most: float
    jitter: float

    def delay(self, attempt: int, error: BaseException, rng: Random) -> float:  # noqa: ARG002
        """Return `first * factor ** (attempt - 1)`, at most `most`, spread."""
        seconds = self.first * _power(self.factor, attempt - 1)
        return _spread(min(seconds, self.most), self.jitter, rng)


class Fixed(Wait, frozen=True):
    """See `fixed`."""

    seconds: float
    jitter: float

    def delay(self, attempt: int, error: BaseException, rng: Random) -> float:  # noqa: ARG002
        """Return the same seconds each time, spread."""
        return _spread(self.seconds, self.jitter, rng)


class Exactly(Wait, frozen=True):
    """See `exactly`."""

    seconds: float

    def delay(self, attempt: int, error: BaseException, rng: Random) -> float:  # noqa: ARG002
        """Return the same seconds each time."""
        return min(self.seconds, MAX_DELAY)


class Custom(Wait, frozen=True):
    """See `custom`."""

    fn: WaitFunction
    jitter: float

    def delay(self, attempt: int, error: BaseException, rng: Random) -> float:
        """Return what the function says, spread; polynomial where it says nothing usable."""
        try:
            seconds = as_seconds(self.fn(attempt, error), "a wait function")
        except (Exception, SystemExit):  # noqa: BLE001 - a policy must not break its worker
            return _FALLBACK.delay(attempt, error, rng)
        return _spread(seconds, self.jitter, rng)


def polynomial(power: float = 4, base: float = 15.0, jitter: float = 0.2) -> Wait:
    """Wait `n ** power + base` seconds after failure n: quick at first, then ever more patient.

    25 attempts at the default span about 20 days. `jitter` is a share of the delay, over 0 and
    at most 1. Raises ConfigError for numbers out of range.
    """
    return Polynomial(
        _positive(power, "polynomial(power=)"),
        as_seconds(base, "polynomial(base=)"),
        _checked_jitter(jitter, "polynomial"),
    )


def exponential(
    first: float | timedelta = 5.0,
    factor: float = 2.0,
    most: float | timedelta = 21_600.0,
    jitter: float = 0.5,
) -> Wait:
    """Wait `first` seconds, then `factor` times longer after each failure, at most `most`.

    `factor` is at least 1; `jitter` is over 0 and at most 1. Raises ConfigError otherwise.
    """
    if _positive(factor, "exponential(factor=)") < 1:
        msg = f"exponential(factor=) must be 1 or more, or waits shrink; got {factor!r}"
        raise ConfigError(msg)
    return Exponential(
        _positive(first, "exponential(first=)"),
        float(factor),
        _positive(most, "exponential(most=)"),
        _checked_jitter(jitter, "exponential"),
    )


def fixed(seconds: float | timedelta, jitter: float = 0.2) -> Wait:
    """Wait about `seconds` each time, spread by `jitter` (over 0, at most 1)."""
    if seconds in (0, timedelta()):
        raise ConfigError("fixed(0) cannot be spread: to retry at once, say exactly(0)")
    return Fixed(_positive(seconds, "fixed(seconds)"), _checked_jitter(jitter, "fixed"))


def exactly(seconds: float | timedelta) -> Wait:
    """Wait `seconds` each time, not spread: jobs that failed together return together."""
    return Exactly(as_seconds(seconds, "exactly(seconds)"))


def custom(fn: WaitFunction, jitter: float = 0.2) -> Wait:
    """Wait what `fn(attempt, error)` returns, in seconds or as a timedelta, spread by `jitter`.

    When it raises or returns something else, the job waits as under `polynomial()`.
    """
    given: Any = fn
    if not callable(given) or inspect.iscoroutinefunction(given):
        msg = f"wait= takes a plain function of (attempt, error), got {fn!r}"
        raise ConfigError(msg)
    return Custom(fn, _checked_jitter(jitter, "custom"))


def as_wait(value: Any) -> Wait:
    """Return what a `wait=` option means: a shape, a number or timedelta (fixed), a function.

    None means `polynomial()`. Raises ConfigError for anything else.
    """
    if value is None:
        return _FALLBACK
    if isinstance(value, Wait):
        return value
    if isinstance(value, timedelta) or (isinstance(value, int | float) and value is not True):
        return fixed(value)
    if callable(value) and not isinstance(value, type):
        return custom(cast("WaitFunction", value))
    msg = (
        f"wait= takes seconds, a timedelta, a function of (attempt, error), or a shape such as "
        f"polynomial() or exponential(); got {value!r}"
    )
    raise ConfigError(msg)


def _power(number: float, exponent: float) -> float:
    try:
        return math.pow(number, exponent)
    except OverflowError:
        return MAX_DELAY


def _spread(seconds: float, jitter: float, rng: Random) -> float:
    # Capped below the ceiling by the jitter's share, or half of all jobs would meet right at it.
    middle = min(max(seconds, 0.0), MAX_DELAY / (1.0 + jitter))
    return min(middle * (1.0 + jitter * (2.0 * rng.random() - 1.0)), MAX_DELAY)


def _positive(value: float | timedelta, name: str) -> float:
    seconds = as_seconds(value, name)
    if seconds == 0:
        msg = f"{name} must be more than 0, got {value!r}"
        raise ConfigError(msg)
    return seconds


def _checked_jitter(jitter: Any, shape: str) -> float:
    if isinstance(jitter, bool) or not isinstance(jitter, int | float) or not 0 < jitter <= 1:
        msg = (
            f"{shape}(jitter=) must be more than 0 and at most 1, got {jitter!r}: without it, "
            "jobs that failed together return together; ask for that by name with exactly(seconds)"
        )
        raise ConfigError(msg)
    return float(jitter)


_FALLBACK = polynomial()
