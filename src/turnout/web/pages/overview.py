"""The first page: what waits, what runs, what fails, how fast, and what a person should look at.

Also rows of queues, which the page of queues shows as well. The invariant: it reads counters and
the newest of the dead only, so that it costs the same however many jobs there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from turnout.job import QueueStats
from turnout.queues import lanes_of
from turnout.web import charts
from turnout.web.deployed import flags_of
from turnout.web.forecast import Forecast, forecast
from turnout.web.groups import group_bars, group_dead, group_model
from turnout.web.pages import tasks
from turnout.web.visit import Page
from turnout.web.why import serves
from turnout.web.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.job import StoreInfo
    from turnout.web.deployed import Flag
    from turnout.web.past import Past
    from turnout.web.pulse import Look, Sample
    from turnout.web.visit import Visit

MOST_GROUPS = 5
NEWEST_DEAD = 500


MOST_LANES = 5  # of a queue that are listed


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One queue's numbers and what to expect of it."""

    stats: QueueStats
    oldest_age: float | None
    forecast: Forecast
    served_by: int  # workers that take its jobs
    lanes: int = 0  # that hold jobs
    longest: tuple[QueueStats, ...] = ()  # of these


class Alert(msgspec.Struct, frozen=True):
    """Something to look at: `level` bad or warn, and a page that tells more."""

    level: str
    text: str
    to: str


def show(visit: Visit) -> Page:
    """Show totals, charts, queues, groups of errors and workers."""
    desk = visit.desk
    look, history = desk.pulse.look(), desk.pulse.history()
    rows = queue_rows(look, history)
    groups = group_dead(visit.jobs.store, desk.redactor.hide, now=visit.now, most=NEWEST_DEAD)
    store = visit.jobs.store.describe()
    span = tasks.span_of(visit)
    past = visit.desk.archive.look(span)
    dead = sum(one.dead for one in look.queues)
    model: dict[str, Any] = {
        "at": look.at,
        "totals": totals(look),
        "queues": rows,
        "workers": look.workers,
        "groups": [group_model(one) for one in groups.groups[:MOST_GROUPS]],
        "groups_of": groups.looked_at,
        "alerts": alerts(rows, look, store),
        "store": {"name": store.name, "location": store.location},
        **tasks.past_model(span, past),
    }
    extra = {
        "charts": charts_of(past, history),
        "sparks": sparks(rows, history),
        "group_sparks": [group_bars(one) for one in groups.groups[:MOST_GROUPS]],
        "all_grouped": groups.looked_at >= dead,
    }
    return Page(template="overview.html", model=model, extra=extra)


def totals(look: Look) -> dict[str, Any]:
    """Return the sums over all queues and workers."""
    names = ("ready", "scheduled", "running", "dead", "succeeded", "per_minute")
    oldest = [one.oldest_at for one in look.queues if one.oldest_at is not None]
    return {
        **{name: sum(getattr(one, name) for one in look.queues) for name in names},
        "oldest_age": max(look.at - min(oldest), 0.0) if oldest else None,
        "workers": len(look.workers),
        "busy": sum(one.running for one in look.workers),
        "slots": sum(one.concurrency for one in look.workers),
    }


def queue_rows(look: Look, history: Sequence[Sample]) -> list[Row]:
    """Return the queues by name, each with its forecast."""
    lanes = lanes_of(look.lanes)
    return [
        Row(
            stats=one,
            oldest_age=None if one.oldest_at is None else max(look.at - one.oldest_at, 0.0),
            forecast=forecast(one, backlog_of(one.queue, history)),
            served_by=sum(serves(w, one.queue) and w.state == "running" for w in look.workers),
            lanes=len(lanes.get(one.queue, ())),
            longest=tuple(lanes.get(one.queue, ())[:MOST_LANES]),
        )
        for one in look.queues
    ]


def backlog_of(queue: str, history: Sequence[Sample]) -> list[tuple[float, int]]:
    """Return (time, ready jobs) of one queue, oldest first."""
    return [(one.at, one.queues[queue][0]) for one in history if queue in one.queues]


def alerts(rows: Sequence[Row], look: Look, store: StoreInfo) -> list[Alert]:
    """Return what a person should look at, the worst first."""
    waiting = sum(row.stats.ready for row in rows)
    found: list[Alert] = []
    if waiting and not look.workers:
        found.append(
            Alert("bad", f"{plural(waiting, 'job')} ready and no worker running", "/workers")
        )
    for row in rows:
        name = row.stats.queue
        if row.stats.paused:
            found.append(Alert("warn", f"Queue {name} is paused", "/queues"))
        elif row.stats.ready and look.workers and not row.served_by:
            found.append(Alert("bad", f"No worker serves queue {name}", "/workers"))
        elif row.forecast.kind == "growing":
            found.append(Alert("warn", f"Queue {name} is {row.forecast.text}", "/queues"))
    found += [Alert("warn", text.partition(": ")[0], "/store") for text in store.warnings]
    return sorted(found, key=lambda one: one.level)[:8]


def charts_of(past: Past, history: Sequence[Sample]) -> list[Any]:
    """Return what workers counted, beside what this process has seen waiting."""
    kept, seen = tasks.drawn(past), draw(history, flags_of(past.deploys or (), past.now))
    return [kept[0], kept[1], kept[3], *seen[1:]] if kept else seen


def draw(history: Sequence[Sample], flags: Sequence[Flag] = ()) -> list[Any]:
    """Return the charts of the first page."""
    if not history or history[-1].at - history[0].at <= 0:
        return []
    rate = [(one.at, float(one.per_minute)) for one in history]
    ready = [(one.at, float(one.ready)) for one in history]
    finished = charts.area(rate, title="Finished per minute", kind="rate", flags=flags)
    waiting = charts.area(ready, title="Ready jobs", kind="ready", flags=flags)
    return [("Finished per minute", finished), ("Ready, waiting for a worker", waiting)]


def sparks(rows: Sequence[Row], history: Sequence[Sample]) -> dict[str, Any]:
    """Return a small line of the rate for each queue."""
    return {
        row.stats.queue: charts.spark(
            [one.queues[row.stats.queue][1] for one in history if row.stats.queue in one.queues],
            title=f"finished per minute in queue {row.stats.queue}, lately",
        )
        for row in rows
    }
