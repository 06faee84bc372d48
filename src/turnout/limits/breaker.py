"""Circuit breaker by rate: stop calling a service of which most calls fail or crawl.

    closed --share of bad calls >= `share`, of `min_calls` or more--> open
    open --its time passed--> half-open
    half-open: rounds of 1, 2, 4, ... calls at once
        --a round went well--> the next round; after the one of `ramp`: closed
        --`share` of a round went bad--> open, for twice as long

By share and not by a row of failures: where one call in four still succeeds, a row never comes
about, and the service drowns with its breaker closed. Slow calls count, as a service at its end is
slow first. An opening lasts `first` seconds, doubled up to `longest`, spread by 20 %; the doubling
is forgotten once the breaker was closed for a whole window. By hand: `opened`, `closed`.

Invariant: an open breaker lets nothing through before `until`, and of those that a half-open one
let through no more are under way than its round.
"""

from __future__ import annotations

from random import Random
from typing import Literal

import msgspec

from turnout.errors import CENTURY
from turnout.limits.faults import number_faults, refuse, whole_faults
from turnout.limits.verdict import ALLOWED, Sample, Verdict, defer
from turnout.limits.window import Window, add, total

__all__ = ["Breaker", "BreakerState"]

Phase = Literal["closed", "open", "half-open"]
_SLACK = 0.001  # seconds by which a call's own measure of its start may be off


class BreakerState(msgspec.Struct, frozen=True, kw_only=True):
    """Where a breaker stands. `since` is when its phase began; `until` ends an open one.

    `round` is how many calls at once a half-open one lets through, `good` and `bad` count those of
    the round, `started` those that it let start. `openings` counts the doublings.
    """

    phase: Phase = "closed"
    window: Window = Window()
    since: float = 0.0
    until: float = 0.0
    openings: int = 0
    round: int = 1
    started: int = 0
    good: int = 0
    bad: int = 0


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """The rule of a circuit breaker; a call over `slow_after` seconds counts as bad (None: never).

    `trial` is how long a half-open breaker waits for a call that it let through: the worker that
    made it may be dead.
    """

    share: float = 0.5
    min_calls: int = 20
    window: float = 10.0
    slow_after: float | None = None
    first: float = 2.0
    longest: float = 5.0
    ramp: int = 16
    trial: float = 60.0

    def __post_init__(self) -> None:
        """Refuse contradictory numbers, all of them at once."""
        faults = number_faults("share", self.share, most=1)
        faults += whole_faults("min_calls", self.min_calls, 1) + whole_faults("ramp", self.ramp, 1)
        faults += number_faults("window", self.window) + number_faults("first", self.first)
        faults += number_faults("longest", self.longest) + number_faults("trial", self.trial)
        if self.slow_after is not None:
            faults += number_faults("slow_after", self.slow_after)
        if not faults and self.first > self.longest:
            faults.append(f"first <= longest must hold, got {self.first} and {self.longest}")
        refuse("Breaker", faults)

    def initial(self) -> BreakerState:
        """Return a closed breaker that has seen nothing."""
        return BreakerState()

    def admit(self, state: BreakerState, now: float) -> tuple[BreakerState, Verdict]:
        """Say whether a call may start now."""
        if state.phase == "closed":
            return state, ALLOWED
        if state.phase == "open":
            if now < state.until:
                # Opened by hand, it may close any time: nobody must wait until the far end of it.
                until = state.until if state.until <= now + self.longest else None
                return state, defer("its breaker is open", until)
            state = self._round(state, 1, now)
        elif state.started >= state.round and now >= state.since + self.trial:
            state = self._round(state, state.round, now)  # their worker died: nobody will report
        if state.started >= state.round:
            return state, defer(f"its breaker is half-open, {state.round} at once")
        return msgspec.structs.replace(state, started=state.started + 1), ALLOWED

    def after(self, state: BreakerState, sample: Sample, now: float, rng: Random) -> BreakerState:
        """Learn from a call that ended at `now`."""
        slow_after = float("inf") if self.slow_after is None else self.slow_after
        if state.phase == "closed":
            window = add(state.window, sample, now, self.window, slow_after)
            return self._watched(state, window, now, rng)
        if state.phase == "open" or now - sample.seconds < state.since - _SLACK:
            return state  # it began before the opening or the round, and says nothing new
        bad = not sample.is_good or sample.seconds > slow_after
        state = msgspec.structs.replace(state, good=state.good + (not bad), bad=state.bad + bad)
        if state.bad >= self.share * state.round:
            return self._open(state, now, rng)
        if state.good + state.bad < state.round:
            return state
        if state.round >= self.ramp:
            return BreakerState(since=now, openings=state.openings)
        return self._round(state, 2 * state.round, now)

    def opened(self, state: BreakerState, now: float) -> BreakerState:
        """Open by hand: until `closed` is said, whatever happens."""
        until = now + CENTURY
        return BreakerState(phase="open", since=now, until=until, openings=state.openings)

    def closed(self, now: float) -> BreakerState:
        """Close by hand and forget what was seen."""
        return BreakerState(since=now)

    def _watched(
        self, state: BreakerState, window: Window, now: float, rng: Random
    ) -> BreakerState:
        seen = total(window, now, self.window)
        if seen.calls >= self.min_calls and seen.bad >= self.share * seen.calls:
            return self._open(state, now, rng)
        calm = state.openings and now >= state.since + self.window
        openings = 0 if calm else state.openings
        return BreakerState(window=window, since=state.since, openings=openings)

    def _open(self, state: BreakerState, now: float, rng: Random) -> BreakerState:
        length = min(self.longest, self.first * 2 ** min(state.openings, 30))
        until = now + length * (0.8 + 0.4 * rng.random())
        return BreakerState(phase="open", since=now, until=until, openings=state.openings + 1)

    def _round(self, state: BreakerState, size: int, now: float) -> BreakerState:
        return BreakerState(phase="half-open", since=now, openings=state.openings, round=size)
