"""Limits and dependencies: what is taken, what is open, and the three orders for a dependency.

The invariant: looking takes no slot, and a name that this application does not declare changes
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from turnout import standing
from turnout.web.holders import holders
from turnout.web.visit import Moved, Page, Refusal, chosen

if TYPE_CHECKING:
    from turnout.web.visit import Visit

ACTIONS = ("open", "close", "reset")
DONE = {"open": "opened", "close": "closed", "reset": "reset"}


def show(visit: Visit) -> Page:
    """Show the limits that tasks declare, and the dependencies."""
    limits, dependencies = standing.limits(visit.jobs), standing.dependencies(visit.jobs)
    keys = [f"{one.kind}:{one.key}" for one in limits if one.by is None]
    keys += [f"dependency:{one.name}" for one in dependencies]
    model: dict[str, Any] = {
        "limits": limits,
        "dependencies": dependencies,
        "holders": holders(visit.jobs.store, keys, now=visit.now),
    }
    return Page(template="limits.html", model=model, extra={"unbounded": 100_000})


def act(visit: Visit) -> Moved:
    """Open, close or reset a dependency."""
    action = chosen("action", visit.field("action"), ACTIONS)
    name = visit.field("name")
    found = standing.watched(visit.jobs).get(name)
    if found is None:
        msg = f"This application has no dependency {name!r}; nothing was changed."
        raise Refusal(404, msg)
    getattr(found, action)()
    visit.write(action, f"dependency {name}")
    said = {"name": name, "action": action, "phase": standing.phase(found)}
    return Moved(to=f"/limits?said={DONE[action]}", said=said)
