"""Adaptive concurrency: how many calls a dependency is given at once, learnt from how they end.

    the calls of late          the limit
    good                       + `step` for each limit's worth of calls, if it was half used
    failing or timing out      x `cut`, at most once a second, and the window begins anew; calls
                               that began before the cut tell of the old limit and count no more

Additive increase, multiplicative decrease. Why this and not waiting: in a queue that workers pull
from, the backlog keeps every worker busy however long each job waits between its attempts; the
concurrency is what decides how hard a sick service is pressed.

Invariant: floor <= limit <= most, whatever the samples.
"""

from __future__ import annotations

import msgspec

from turnout.limits.faults import number_faults, refuse, whole_faults
from turnout.limits.verdict import ALLOWED, Sample, Verdict, defer
from turnout.limits.window import Tally, Window, add, total

__all__ = ["Adaptive", "AdaptiveState"]

_PAUSE = 1.0  # seconds between two cuts: where calls fail within milliseconds, one is enough


class AdaptiveState(msgspec.Struct, frozen=True):
    """What was learnt: the limit, with its fraction, and the calls since the last cut."""

    limit: float
    window: Window = Window()
    last_cut: float = 0.0


class Adaptive(msgspec.Struct, frozen=True, kw_only=True):
    """The rule of an adaptive limit; shares are of the calls in the last `window` seconds.

    Fewer than `min_bad` bad calls never cut: one failure is no news.
    """

    start: int = 20
    floor: int = 1
    most: int = 1_000
    step: float = 1.0
    cut: float = 0.5
    failure_share: float = 0.2
    timeout_share: float = 0.05
    window: float = 10.0
    min_bad: int = 3

    def __post_init__(self) -> None:
        """Refuse contradictory numbers, all of them at once."""
        faults = whole_faults("floor", self.floor, 1) + whole_faults("most", self.most, 1)
        faults += whole_faults("start", self.start, 1)
        faults += whole_faults("min_bad", self.min_bad, 1)
        faults += number_faults("step", self.step, most=100) + number_faults("window", self.window)
        faults += number_faults("cut", self.cut, most=0.99)
        faults += number_faults("failure_share", self.failure_share, most=1)
        faults += number_faults("timeout_share", self.timeout_share, most=1)
        if not faults and not self.floor <= self.start <= self.most:
            faults.append(
                f"floor <= start <= most must hold, got {self.floor}, {self.start}, {self.most}"
            )
        refuse("Adaptive", faults)

    def initial(self) -> AdaptiveState:
        """Return the state before the first call."""
        return AdaptiveState(float(self.start))

    def admit(self, state: AdaptiveState, in_flight: int) -> Verdict:
        """Say whether one more call may start beside `in_flight` others."""
        if in_flight < int(state.limit):
            return ALLOWED
        return defer(f"its adaptive limit is {int(state.limit)}")

    def after(
        self, state: AdaptiveState, sample: Sample, in_flight: int, now: float
    ) -> AdaptiveState:
        """Learn from a call that ended at `now`; `in_flight` counts it still."""
        window = add(state.window, sample, now, self.window, float("inf"))
        if sample.is_good:
            used = 2 * in_flight >= state.limit
            limit = min(float(self.most), state.limit + self.step / state.limit)
            return AdaptiveState(limit if used else state.limit, window, state.last_cut)
        began = now - sample.seconds
        if began < state.last_cut or now < state.last_cut + _PAUSE:
            return AdaptiveState(state.limit, state.window, state.last_cut)
        if not self._is_too_much(total(window, now, self.window)):
            return AdaptiveState(state.limit, window, state.last_cut)
        return AdaptiveState(max(float(self.floor), state.limit * self.cut), last_cut=now)

    def _is_too_much(self, seen: Tally) -> bool:
        failing = seen.failed >= max(self.min_bad, self.failure_share * seen.calls)
        return failing or seen.timeouts >= max(self.min_bad, self.timeout_share * seen.calls)
