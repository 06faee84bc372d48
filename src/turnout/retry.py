"""What follows a failed attempt: (error, attempt, counts, now, rng) -> decision.

      the error                     decision
      Retry raised by the task      retry, counted under "default"
      first rule that names it      retry_on: retry, until its attempts are used up: dead
                                    discard_on: discard
      no rule names it              retry, counted under "default", until `attempts`: dead

Every rule counts its own failures, so that ten timeouts leave a later refusal all its attempts.
Invariant: a decision is a pure function of its arguments; nothing here reads a clock, and a
retry is never earlier than the failing service asked for (at most a day ahead).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import iscoroutinefunction
from random import Random
from typing import Any, Literal

import msgspec

from turnout.backoff import (
    Wait,
    WaitLike,
    as_wait,
    custom,
    exactly,
    exponential,
    fixed,
    polynomial,
)
from turnout.errors import ConfigError, ControlFlow, Retry
from turnout.failure import describe, format_traceback, qualified_name, retry_after

__all__ = [
    "Decision",
    "Policy",
    "Rule",
    "Wait",
    "WaitLike",
    "as_wait",
    "custom",
    "describe",
    "discard_on",
    "exactly",
    "exponential",
    "fixed",
    "format_traceback",
    "polynomial",
    "qualified_name",
    "retry_after",
    "retry_on",
]

DEFAULT_KEY = "default"
DEFAULT_ATTEMPTS = 25
MAX_ASKED = 100 * 365 * 86_400.0  # what a task may ask for by Retry(after=): any date can hold it

Then = Callable[..., object]  # then(job, error)


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What to do about some exceptions. Make one by `retry_on` or `discard_on`."""

    kind: Literal["retry", "discard"]
    exceptions: tuple[type[Exception], ...]
    key: str
    attempts: int
    wait: Wait
    then: Then | None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to a job whose attempt failed.

    `run_at` is set for a retry only. `counts` are the rules' counts to keep. `then` is set when
    the job ends under a rule that has one.
    """

    kind: Literal["retry", "dead", "discard"]
    counts: dict[str, int]
    reason: str
    run_at: float | None = None
    then: Then | None = None


def retry_on(
    *exceptions: type[Exception],
    attempts: int = 5,
    wait: WaitLike | None = None,
    then: Then | None = None,
) -> Rule:
    """Run a job again when one of these exceptions (or a subclass) ends it.

    `attempts` counts all runs that end under this rule, the first included, from 1. `wait` is a
    shape, seconds, a timedelta or a function of (attempt, error); the default is polynomial().
    When the attempts are used up, the job is dead and `then(job, error)` is called. Raises
    ConfigError.
    """
    return Rule(
        kind="retry",
        exceptions=_checked_exceptions("retry_on", exceptions),
        key=_key("retry", exceptions),
        attempts=_checked_attempts("retry_on", attempts),
        wait=as_wait(wait),
        then=_checked_then("retry_on", then),
    )


def discard_on(*exceptions: type[Exception], then: Then | None = None) -> Rule:
    """Give a job up, on purpose, when one of these exceptions (or a subclass) ends it.

    Then `then(job, error)` is called. Raises ConfigError.
    """
    return Rule(
        kind="discard",
        exceptions=_checked_exceptions("discard_on", exceptions),
        key=_key("discard", exceptions),
        attempts=1,
        wait=as_wait(None),
        then=_checked_then("discard_on", then),
    )


@dataclass(frozen=True, slots=True, init=False)
class Policy:
    """A task's rules, tried in order, and what holds for errors that no rule names."""

    rules: tuple[Rule, ...]
    attempts: int
    wait: Wait

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        attempts: int = DEFAULT_ATTEMPTS,
        wait: WaitLike | None = None,
    ) -> None:
        object.__setattr__(self, "rules", _checked_rules(rules))
        object.__setattr__(self, "attempts", _checked_attempts("a task", attempts))
        object.__setattr__(self, "wait", as_wait(wait))

    def decide(
        self,
        error: BaseException,
        attempt: int,
        counts: Mapping[str, int],
        now: float,
        rng: Random,
    ) -> Decision:
        """Return what follows attempt number `attempt` (from 1), which `error` ended at `now`.

        `counts` tells how often each rule was used before; it is not changed.
        """
        rule = None if isinstance(error, Retry) else self._rule_for(error)
        key = DEFAULT_KEY if rule is None else rule.key
        number = counts.get(key, 0) + 1
        after = {**counts, key: number}
        if rule is not None and rule.kind == "discard":
            reason = f"attempt {attempt}: {_called(rule)} gives it up"
            return Decision(kind="discard", counts=after, reason=reason, then=rule.then)
        limit = self.attempts if rule is None else rule.attempts
        under = "the task's default" if rule is None else _called(rule)
        if number >= limit:
            reason = f"attempt {attempt}: {number} of {limit} attempts used under {under}"
            then = None if rule is None else rule.then
            return Decision(kind="dead", counts=after, reason=reason, then=then)
        delay, whose = self._delay(error, number, rule, now, rng)
        reason = (
            f"attempt {attempt}: {number} of {limit} under {under}, again in {delay:.1f} s{whose}"
        )
        return Decision(kind="retry", counts=after, reason=reason, run_at=now + delay)

    def gives_up(self, error: BaseException) -> bool:
        """Tell whether a rule discards jobs for this error: it is an answer, and not a failure."""
        rule = self._rule_for(error)
        return rule is not None and rule.kind == "discard"

    def _rule_for(self, error: BaseException) -> Rule | None:
        for rule in self.rules:
            if isinstance(error, rule.exceptions):
                return rule
        return None

    def _delay(
        self, error: BaseException, number: int, rule: Rule | None, now: float, rng: Random
    ) -> tuple[float, str]:
        if isinstance(error, Retry):
            told = None if error.after is None else min(error.after, MAX_ASKED)
            whose = ", as the task asked"
        else:
            # A service that says 0 names no time: the usual wait, or all would be back at once.
            told, whose = retry_after(error, now) or None, ", as Retry-After asked"
        if told is None:
            wait = self.wait if rule is None else rule.wait
            return wait.delay(number, error, rng), ""
        # Never earlier than told; a little later, or all that were told the same meet again.
        return told * (1.0 + 0.1 * rng.random()), whose


def _key(kind: str, exceptions: Iterable[type]) -> str:
    return f"{kind}:" + ",".join(qualified_name(one) for one in exceptions)


def _called(rule: Rule) -> str:
    kind, _, names = rule.key.partition(":")
    return f"{kind}_on({names})"


def _checked_exceptions(maker: str, exceptions: tuple[Any, ...]) -> tuple[type[Exception], ...]:
    if not exceptions:
        msg = f"{maker}() needs at least one exception class, such as {maker}(ConnectionError)"
        raise ConfigError(msg)
    for one in exceptions:
        if not isinstance(one, type) or not issubclass(one, BaseException):
            msg = f"{maker}() takes exception classes, got {one!r}"
            raise ConfigError(msg)
        if not issubclass(one, Exception):
            msg = (
                f"{maker}() takes subclasses of Exception; {qualified_name(one)} asks the whole "
                "process or attempt to stop, which a rule may not overrule"
            )
            raise ConfigError(msg)
        if issubclass(one, ControlFlow):
            msg = (
                f"{maker}() takes errors; {one.__name__} is how a task says what should happen, "
                "and is obeyed without a rule"
            )
            raise ConfigError(msg)
    return exceptions


def _checked_attempts(owner: str, attempts: Any) -> int:
    if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
        msg = f"{owner} takes attempts=1 or more (all runs, the first included), got {attempts!r}"
        raise ConfigError(msg)
    return attempts


def _checked_then(maker: str, then: Any) -> Then | None:
    if then is not None and not callable(then):
        msg = f"{maker}(then=) takes a function of (job, error), got {then!r}"
        raise ConfigError(msg)
    if iscoroutinefunction(then):
        msg = f"{maker}(then=) takes a `def` function, got an async one: {then!r:.80}"
        raise ConfigError(msg)
    checked: Then | None = then
    return checked


def _checked_rules(rules: Any) -> tuple[Rule, ...]:
    if isinstance(rules, Rule):
        msg = "on_error= takes a list of rules; put this one into brackets"
        raise ConfigError(msg)
    found: tuple[Any, ...] = tuple(rules)
    taken: tuple[type[Exception], ...] = ()
    for rule in found:
        if not isinstance(rule, Rule):
            msg = f"on_error= takes retry_on(...) and discard_on(...), got {rule!r}"
            raise ConfigError(msg)
        if all(issubclass(one, taken) for one in rule.exceptions):
            msg = (
                f"{_called(rule)} can never apply: the rules before it take all its exceptions "
                "already; put the narrower rule first"
            )
            raise ConfigError(msg)
        taken += rule.exceptions
    return found
