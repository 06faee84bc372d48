"""How tasks fare: each with its counts and durations, and one of them with its history.

The invariant: figures come from what workers counted; jobs are read for the newest few of one task
only, within the bounds of finding.py.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from turnout import finding
from turnout.metrics import OTHER, Spread, as_figures, upper
from turnout.search import Query
from turnout.web import charts
from turnout.web.deployed import flags_of
from turnout.web.groups import PATIENCE, group_bars, group_dead, group_model
from turnout.web.pages.jobs import job_model
from turnout.web.past import SPANS
from turnout.web.visit import Page, Refusal, chosen
from turnout.web.wording import duration, plural

if TYPE_CHECKING:
    from markupsafe import Markup

    from turnout.metrics import Measured
    from turnout.web.past import Past
    from turnout.web.visit import Visit

NEWEST = 10  # jobs of one task
MOST_GROUPS = 20

Drawn = list[tuple[str, "Markup"]]


def show(visit: Visit) -> Page:
    """Show every task that ran in a span of time, the busiest first."""
    span = span_of(visit)
    past = visit.desk.archive.look(span)
    known = {row.task for row in past.tasks}
    model: dict[str, Any] = {
        **past_model(span, past),
        "tasks": [as_figures(row) for row in past.tasks],
        "idle": sorted(name for name in visit.jobs.tasks if name not in known),
    }
    return Page(template="tasks.html", model=model, extra={"charts": drawn(past), "other": OTHER})


def one(visit: Visit) -> Page:
    """Show one task: how often it ran and failed, how long it took and waited."""
    task = visit.given("task")
    if not task:
        raise Refusal(400, "task names the task: /tasks/one?task=shop.charge")
    span = span_of(visit)
    past = visit.desk.archive.look(span, task)
    figures = None if past.total is None else {**as_figures(past.total), "task": task}
    store, began = visit.jobs.store, time.monotonic()
    query = Query(tasks=(task,))
    newest = finding.find(store, query, visit.desk.pulse.look(), limit=NEWEST, after=None)
    left = PATIENCE - (time.monotonic() - began)  # one patience for both
    hide = visit.desk.redactor.hide
    dead = group_dead(store, hide, now=visit.now, task=task, patience=left)
    model: dict[str, Any] = {
        **past_model(span, past),
        "task": task,
        "figures": figures,
        "groups": [group_model(group) for group in dead.groups[:MOST_GROUPS]],
        "groups_complete": dead.complete,
        "jobs": [job_model(visit, record) for record in newest.jobs],
    }
    spreads = () if past.total is None else histograms(past.total)
    extra = {
        "charts": drawn(past),
        "histograms": spreads,
        "searched": newest.end != "unfinished",
        "group_sparks": [group_bars(group) for group in dead.groups[:MOST_GROUPS]],
        "is_known": task in visit.jobs.tasks,
    }
    return Page(template="task.html", model=model, extra=extra)


def span_of(visit: Visit) -> str:
    """Return the span that was asked for, or the last hour."""
    return chosen("last", visit.given("last", "1h"), tuple(SPANS))


def past_model(span: str, past: Past) -> dict[str, Any]:
    """Return a history as pages and programs see it."""
    return {"last": span, "step": past.step, "steps": past.steps, "deploys": past.deploys}


def drawn(past: Past) -> Drawn:
    """Return a history's charts; none when nothing was counted."""
    if past.total is None:
        return []
    ran, failed = past.line(lambda one: one.attempts), past.line(lambda one: one.failed)
    waited = [(one.at, (one.wait_p95 or 0.0) * 1_000) for one in past.steps]
    took = [(one.at, (one.run_p95 or 0.0) * 1_000) for one in past.steps]
    flags = flags_of(past.deploys or (), past.now)
    drawn_by = (
        ("Attempts per minute", ran, "rate"),
        ("Failed attempts per minute", failed, "bad"),
        ("Run time, ms: 95 of 100 take less", took, "ready"),
        ("Wait, ms: 95 of 100 start sooner", waited, "ready"),
    )
    return [
        (title, charts.area(points, title=title, kind=kind, flags=flags))
        for title, points, kind in drawn_by
    ]


def histograms(row: Measured) -> Drawn:
    """Return how run times and waits are spread, as bars from the least to the most."""
    spreads = (("Run time", row.run), ("Wait", row.wait))
    return [_spread(name, spread) for name, spread in spreads if spread.counts]


def _spread(name: str, spread: Spread) -> tuple[str, Markup]:
    low, high = min(spread.counts), max(spread.counts)
    counts = [spread.counts.get(bucket, 0) for bucket in range(low, high + 1)]
    least = duration(upper(low - 1)) if low else "nothing"
    said = f"{name}, from {least} to {duration(upper(high))}: {plural(spread.n, 'attempt')}"
    return said, charts.bars(counts, title=said)
