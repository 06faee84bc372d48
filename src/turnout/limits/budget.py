"""Retry budget: retries are a share of first attempts; those over it wait, none is dropped.

    tokens += share        for each first attempt, up to `most`
    tokens += floor x dt   always, so that a quiet dependency is retried too
    tokens -= 1            for each retry that may start
    tokens += 1 + share    for each retry that succeeds while nothing fails (`WELL` good calls in a
                           row): of a service that is well again, what was put off during its
                           illness is retried ever faster, not ten a minute. Of a sick one some
                           calls succeed too: what they paid is gone.

Invariant: 0 <= tokens <= most.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from turnout.limits.faults import number_faults, refuse
from turnout.limits.verdict import ALLOWED, Sample, Verdict, defer

__all__ = ["BudgetState", "RetryBudget"]


WELL = 5


class BudgetState(msgspec.Struct, frozen=True):
    """The tokens there were at a time, and how many calls in a row were good by then."""

    tokens: float
    at: float
    streak: int = 0


class RetryBudget(msgspec.Struct, frozen=True, kw_only=True):
    """The rule of a retry budget; `floor` is retries a second that are always allowed."""

    share: float = 0.2
    floor: float = 10 / 60
    most: float = 100.0

    def __post_init__(self) -> None:
        """Refuse contradictory numbers, all of them at once."""
        faults = number_faults("share", self.share, most=10, above=False)
        faults += number_faults("floor", self.floor, most=1e6)
        faults += number_faults("most", self.most, least=1, most=1e6, above=False)
        refuse("RetryBudget", faults)

    def initial(self, now: float) -> BudgetState:
        """Return a full budget."""
        return BudgetState(self.most, now)

    def admit(self, state: BudgetState, attempt: int, now: float) -> tuple[BudgetState, Verdict]:
        """Say whether attempt number `attempt` (from 1) may start now, and pay for it."""
        tokens = self._at(state, now)
        if attempt <= 1:
            return replace(state, tokens=min(self.most, tokens + self.share), at=now), ALLOWED
        if tokens >= 1:
            return replace(state, tokens=tokens - 1, at=now), ALLOWED
        # Rounding may leave the very last token a hair short at the time that was named.
        wait = (1 - tokens) / self.floor + 1e-6
        verdict = defer("its retry budget is spent", now + wait, for_all=False)
        return replace(state, tokens=tokens, at=now), verdict

    def after(self, state: BudgetState, sample: Sample, now: float) -> BudgetState:
        """Learn from a call; give back what a good retry paid to a service that is well."""
        streak = min(state.streak + 1, WELL) if sample.is_good else 0
        back = 1 + self.share if streak == WELL and sample.attempt > 1 else 0
        return BudgetState(min(self.most, self._at(state, now) + back), now, streak)

    def _at(self, state: BudgetState, now: float) -> float:
        return min(self.most, state.tokens + max(0.0, now - state.at) * self.floor)
