"""A named dependency: its cooldown, breaker, retry budget and adaptive limit, asked as one.

    admit: cooldown -> breaker -> adaptive limit -> retry budget -> the call may start
    after: the sample goes to all of them

The budget comes last, as it alone is paid on admission. Whoever is refused is deferred: the job
keeps its attempt, and its worker takes other work. Each part may be None: left out.

Invariant: `in_flight` is the number of admitted calls that have not ended.
"""

from __future__ import annotations

from random import Random

import msgspec

from turnout.limits.adaptive import Adaptive, AdaptiveState
from turnout.limits.breaker import Breaker, BreakerState
from turnout.limits.budget import BudgetState, RetryBudget
from turnout.limits.cooldown import Cooldown, CooldownState
from turnout.limits.faults import key_faults, refuse
from turnout.limits.verdict import ALLOWED, Sample, Verdict

__all__ = ["Dependency", "DependencyState"]


class DependencyState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a dependency; None for the parts that its rule leaves out."""

    in_flight: int = 0
    adaptive: AdaptiveState | None = None
    breaker: BreakerState | None = None
    budget: BudgetState | None = None
    cooldown: CooldownState | None = None


class Dependency(msgspec.Struct, frozen=True, kw_only=True):
    """The rule of a dependency; the defaults are those of a task that only names one."""

    key: str
    adaptive: Adaptive | None = Adaptive()
    breaker: Breaker | None = Breaker()
    budget: RetryBudget | None = RetryBudget()
    cooldown: Cooldown | None = Cooldown()

    def __post_init__(self) -> None:
        """Refuse a key that no store can hold."""
        refuse("Dependency", key_faults(self.key))

    def initial(self, now: float) -> DependencyState:
        """Return the state before the first call."""
        return DependencyState(
            adaptive=None if self.adaptive is None else self.adaptive.initial(),
            breaker=None if self.breaker is None else self.breaker.initial(),
            budget=None if self.budget is None else self.budget.initial(now),
            cooldown=None if self.cooldown is None else self.cooldown.initial(),
        )

    def admit(
        self, state: DependencyState, attempt: int, now: float, rng: Random
    ) -> tuple[DependencyState, Verdict]:
        """Say whether attempt number `attempt` (from 1) of a job may call now."""
        if self.cooldown is not None and state.cooldown is not None:
            verdict = self.cooldown.admit(state.cooldown, now, rng)
            if not verdict.allowed:
                return state, verdict
        breaker, verdict = state.breaker, ALLOWED
        if self.breaker is not None and breaker is not None:
            breaker, verdict = self.breaker.admit(breaker, now)
        if verdict.allowed and self.adaptive is not None and state.adaptive is not None:
            verdict = self.adaptive.admit(state.adaptive, state.in_flight)
        budget = state.budget
        if verdict.allowed and self.budget is not None and budget is not None:
            budget, verdict = self.budget.admit(budget, attempt, now)
        if not verdict.allowed:
            return state, verdict  # as it was: what a breaker gave to this call is given back
        return msgspec.structs.replace(
            state, in_flight=state.in_flight + 1, breaker=breaker, budget=budget
        ), ALLOWED

    def after(
        self, state: DependencyState, sample: Sample, now: float, rng: Random
    ) -> DependencyState:
        """Learn from an admitted call that ended at `now`."""
        adaptive, breaker, cooldown = state.adaptive, state.breaker, state.cooldown
        budget = state.budget
        if self.adaptive is not None and adaptive is not None:
            adaptive = self.adaptive.after(adaptive, sample, state.in_flight, now)
        if self.breaker is not None and breaker is not None:
            breaker = self.breaker.after(breaker, sample, now, rng)
        if self.cooldown is not None and cooldown is not None:
            cooldown = self.cooldown.after(cooldown, sample, now)
        if self.budget is not None and budget is not None:
            budget = self.budget.after(budget, sample, now)
        return DependencyState(
            in_flight=max(0, state.in_flight - 1),
            adaptive=adaptive,
            breaker=breaker,
            budget=budget,
            cooldown=cooldown,
        )
