"""Limits: shared ceilings under a key, as pure decisions; no clock, no store, no threads.

    by count, over a store's marks     concurrency, rate (bucket, window, leaky)
    by how a dependency does           Adaptive, Breaker, RetryBudget, Cooldown; Dependency is all

Each is a frozen rule with functions (state, event, now, rng) -> (state, verdict). A worker, the
simulator and a test run the same objects.
"""

from __future__ import annotations

from turnout.limits.adaptive import Adaptive, AdaptiveState
from turnout.limits.breaker import Breaker, BreakerState
from turnout.limits.budget import BudgetState, RetryBudget
from turnout.limits.cooldown import Cooldown, CooldownState, sample_of
from turnout.limits.dependency import Dependency, DependencyState
from turnout.limits.marks import Mark, Marked
from turnout.limits.shapes import Limit, check_across, check_together, concurrency, rate, verdict
from turnout.limits.verdict import Sample, Verdict

__all__ = [
    "Adaptive",
    "AdaptiveState",
    "Breaker",
    "BreakerState",
    "BudgetState",
    "Cooldown",
    "CooldownState",
    "Dependency",
    "DependencyState",
    "Limit",
    "Mark",
    "Marked",
    "RetryBudget",
    "Sample",
    "Verdict",
    "check_across",
    "check_together",
    "concurrency",
    "rate",
    "sample_of",
    "verdict",
]
