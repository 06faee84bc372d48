"""The tasks of an application as contenders: their own retry policies, unmodified.

Invariant: tasks with equal policies compete once, under the first one's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout.sim.scenario import Contender
from turnout.sim.trouble import Raises, ServiceRefused, ServiceTimeout, TooManyRequests

if TYPE_CHECKING:
    from turnout.app import Turnout
    from turnout.retry import Policy

__all__ = ["contenders_of"]


def contenders_of(app: Turnout) -> list[Contender]:
    """Return one contender for each distinct retry policy of the application's tasks."""
    groups: list[tuple[Policy, list[str]]] = []
    for task in app.tasks.values():
        policy = task.options.policy
        names = next((names for known, names in groups if known == policy), None)
        if names is None:
            groups.append((policy, [task.name]))
        else:
            names.append(task.name)
    return [
        Contender(name=_called(names), policy=policy, raises=raises_for(policy))
        for policy, names in groups
    ]


def raises_for(policy: Policy) -> Raises:
    """Return the classes of simulated errors that this policy has rules for.

    A rule that names a built-in error (TimeoutError, ConnectionError) applies to it. A policy that
    names only its client library's errors is given the first of these that it retries for every
    ending: that is what its calls raise.
    """
    retried = [rule.exceptions[0] for rule in policy.rules if rule.kind == "retry"]
    ours = (ServiceRefused, ServiceTimeout, TooManyRequests)
    if not retried or any(
        issubclass(one, rule.exceptions) for one in ours for rule in policy.rules
    ):
        return Raises()
    first = retried[0]
    return Raises(failed=first, refused=first, timeout=first, throttled=first)


def _called(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
