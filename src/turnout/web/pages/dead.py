"""The dead set by error: look, count before acting, then retry or delete a whole group in steps.

    groups -> one of them, counted (nothing changes) -> one step -> counted again, until done

The invariant: a step changes at most `groups.STEP` jobs and is in the audit log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlencode

from turnout.web import groups
from turnout.web.groups import group_bars, group_model
from turnout.web.pages.jobs import job_model
from turnout.web.visit import Moved, Page, Refusal, chosen

if TYPE_CHECKING:
    from turnout.web.visit import Visit

ACTIONS = ("retry", "delete")
MOST_SHOWN = 100


def show(visit: Visit) -> Page:
    """Show the groups, largest first."""
    found = groups.group_dead(visit.jobs.store, visit.desk.redactor.hide, now=visit.now)
    shown = found.groups[:MOST_SHOWN]
    total = sum(one.dead for one in visit.desk.pulse.look().queues)
    model: dict[str, Any] = {
        "groups": [group_model(one) for one in shown],
        "looked_at": found.looked_at,
        "complete": found.complete,
        "dead": max(total, found.looked_at),
        "more_groups": len(found.groups) - len(shown),
    }
    extra = {"group_sparks": [group_bars(one) for one in shown]}
    return Page(template="dead.html", model=model, extra=extra)


def preview(visit: Visit) -> Page:
    """Count what a step would change, and change nothing."""
    task, error = _group(visit.given("task"), visit.given("error"))
    step, samples = groups.walk(visit.jobs.store, (task, error), after=visit.after(), now=visit.now)
    model: dict[str, Any] = {
        "task": task,
        "error": error,
        "count": step.looked_at,
        "more": step.next is not None,
        "samples": [job_model(visit, one) for one in samples],
    }
    done = visit.given("done", "0", 12)
    extra = {
        "after": visit.given("after"),
        "done": int(done) if done.isascii() and done.isdigit() else 0,
        "step": groups.STEP,
        "replay": f'state:dead task:"{task}" error:"{error}"' if error else "",
    }
    return Page(template="group.html", model=model, extra=extra)


def act(visit: Visit) -> Moved:
    """Retry or delete one step of a group."""
    task, error = _group(visit.field("task"), visit.field("error"))
    action = cast('Literal["retry", "delete"]', chosen("action", visit.field("action"), ACTIONS))
    step, _ = groups.walk(
        visit.jobs.store, (task, error), after=visit.after(), now=visit.now, action=action
    )
    visit.write(action, f"dead jobs of {task} with {error or 'no error'}", step.changed)
    before = visit.field("done", "0", 12)
    done = step.changed + (int(before) if before.isascii() and before.isdigit() else 0)
    query = {"task": task, "error": error or "", "done": done}
    if step.next is not None:
        query["after"] = step.next
    said = {"action": action, "changed": step.changed, "next": step.next}
    return Moved(to="/dead/group?" + urlencode(query), said=said)


def _group(task: str, error: str) -> tuple[str, str | None]:
    if not task:
        raise Refusal(400, "Which group? task= and error= name it.")
    return task, error or None
