"""Retry-After and 429: what a service asks of one caller holds for everybody who calls it.

Invariant: nobody calls before the time that was asked for, at most a day ahead, nor all at once
after it: each is sent back a little later, spread over a tenth of the wait.
"""

from __future__ import annotations

from random import Random

import msgspec

from turnout.failure import MAX_RETRY_AFTER, retry_after
from turnout.limits.faults import number_faults, refuse
from turnout.limits.verdict import ALLOWED, Sample, Verdict, defer

__all__ = ["Cooldown", "CooldownState", "sample_of"]

UNNAMED = 1.0  # seconds to leave a service alone that says 429 and names no time
_TOO_MANY = 429
_AWAY = 503


class CooldownState(msgspec.Struct, frozen=True):
    """Until when the service wants to be left alone, and how long that was."""

    until: float = 0.0
    length: float = 0.0


class Cooldown(msgspec.Struct, frozen=True, kw_only=True):
    """The rule: `unnamed` is what a 429 without a time means, in seconds."""

    unnamed: float = UNNAMED

    def __post_init__(self) -> None:
        """Refuse a time that is none."""
        refuse("Cooldown", number_faults("unnamed", self.unnamed, most=MAX_RETRY_AFTER))

    def initial(self) -> CooldownState:
        """Return the state before anything was asked."""
        return CooldownState()

    def admit(self, state: CooldownState, now: float, rng: Random) -> Verdict:
        """Say whether a call may start now."""
        if now >= state.until:
            return ALLOWED
        spread = 0.1 * state.length * rng.random()
        return defer("it asked to be left alone", state.until + spread)

    def after(self, state: CooldownState, sample: Sample, now: float) -> CooldownState:
        """Learn from a call that ended at `now`; a shorter wish never ends a longer one."""
        if sample.kind != "throttled":
            return state
        asked = sample.retry_after or self.unnamed
        length = min(asked, MAX_RETRY_AFTER)
        return CooldownState(now + length, length) if now + length > state.until else state


def sample_of(
    error: BaseException | None, seconds: float, now: float, *, attempt: int = 1
) -> Sample:
    """Return how a call ended, from what it raised (None: nothing). Never raises.

    Throttled: status 429, or 503 with a time; or any error that names one by Retry-After.
    """
    if error is None:
        return Sample("ok", seconds, attempt=attempt)
    asked = retry_after(error, now)
    status = _status(error)
    if status == _TOO_MANY or asked or (status == _AWAY and asked is not None):
        return Sample("throttled", seconds, asked, attempt)
    return Sample("timeout" if _is_timeout(error) else "failed", seconds, attempt=attempt)


def _is_timeout(error: BaseException) -> bool:
    # Every HTTP library has timeouts of its own, few of them TimeoutErrors.
    return isinstance(error, TimeoutError) or "timeout" in type(error).__name__.lower()


def _status(error: BaseException) -> int | None:
    for holder in (error, _get(error, "response")):
        for name in ("status_code", "status", "code", "http_status"):
            found = _get(holder, name)
            if isinstance(found, int):
                return int(found)
    return None


def _get(holder: object, name: str) -> object:
    try:
        return getattr(holder, name, None)
    except BaseException:  # noqa: BLE001 - properties of other people's errors
        return None
