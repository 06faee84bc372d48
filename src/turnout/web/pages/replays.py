"""Replays: a form with a count that changes nothing, those under way, and a button that stops one.

The invariant: this process only begins and stops them, in the store; workers do the rest, so that a
replay goes on when the web process ends. Who may not read arguments cannot replay by them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from turnout.errors import ConfigError
from turnout.replay import MOST_WATCHED, Plan, Replay
from turnout.search import LONGEST
from turnout.web.visit import Moved, Page, Refusal

if TYPE_CHECKING:
    from turnout.search import Query
    from turnout.web.visit import Visit

USUAL = {"rate": "50", "canary": "20", "canary_share": "90", "canary_within": "300"}
USUAL["stop_at"] = "30"


def show(visit: Visit) -> Page:
    """Show the replays under way and the last ones, newest first."""
    found = visit.jobs.replays.all()
    workers = visit.desk.pulse.look().workers
    model: dict[str, Any] = {"replays": [model_of(one) for one in found], "workers": len(workers)}
    return Page(template="replays.html", model=model)


def model_of(replay: Replay) -> dict[str, Any]:
    """Return a replay as pages and programs see it."""
    names = ("id", "by", "begun_at", "phase", "why", "expected", "expected_more", "sent")
    more = ("passed_over", "succeeded", "failed", "moved_at", "is_over", "plan")
    shown = {name: getattr(replay, name) for name in (*names, *more)}
    query = replay.query.text or ", ".join(str(one) for one in replay.query.states)
    return {**shown, "query": query, "watching": len(replay.watched)}


def new(visit: Visit) -> Page:
    """Count what a replay of a query would send, and ask how; nothing is changed."""
    text = visit.given("q", "state:dead", most=LONGEST)
    return _form(visit, text, USUAL, "")


def start(visit: Visit) -> Page | Moved:
    """Begin a replay; faults come back to the form."""
    text = visit.field("q", most=LONGEST)
    given = {name: visit.field(name, "", 20).strip() for name in USUAL}
    try:
        query = _read(visit, text)
        replay = visit.jobs.replays.start(query, plan_of(given), by=visit.person.name)
    except ConfigError as error:
        if visit.wants_json:
            raise Refusal(400, f"{error}") from None
        return _form(visit, text, given, f"{error}")
    visit.write("replay", f"{replay.id}: {text or 'dead jobs'}", replay.expected)
    return Moved(to="/replays?said=replaying", said={"id": replay.id, "expected": replay.expected})


def stop(visit: Visit) -> Moved:
    """Stop a replay; what it sent stays in the queues."""
    replay_id = visit.field("id", "", 20)
    stopped = visit.jobs.replays.stop(replay_id, by=visit.person.name)
    if stopped is None:
        raise Refusal(404, "There is no such replay; nothing was stopped.")
    visit.write("stop replay", replay_id, stopped.sent)
    return Moved(to="/replays?said=halted", said={"id": replay_id, "sent": stopped.sent})


def plan_of(given: dict[str, str]) -> Plan:
    """Read a form; an empty rate is all at once, an empty share of failures no stop."""
    canary = _number("canary", given["canary"] or "0")
    if canary != int(canary):
        raise ConfigError("canary is a whole number of jobs")
    return Plan(
        rate=_number("rate", given["rate"]) if given["rate"] else None,
        canary=int(canary),
        canary_share=_number("canary_share", given["canary_share"] or "90") / 100,
        canary_within=_number("canary_within", given["canary_within"] or "300"),
        stop_at=_number("stop_at", given["stop_at"]) / 100 if given["stop_at"] else None,
    )


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        return number
    msg = f"{name} is a number, got {text!r}"
    raise ConfigError(msg)


def _read(visit: Visit, text: str) -> Query:
    query = visit.jobs.replays.read(text)
    if query.args and not visit.person.may("admin"):
        raise Refusal(403, "Only an admin may replay by arguments: some may be hidden from you.")
    return query


def _form(visit: Visit, text: str, given: dict[str, str], fault: str) -> Page:
    count, replays = None, visit.jobs.replays
    try:
        count = replays.count(_read(visit, text), visit.desk.redactor.hide)
    except ConfigError as error:
        fault = fault or f"{error}"
        if visit.wants_json:
            raise Refusal(400, fault) from None
    model: dict[str, Any] = {
        "query": text,
        "jobs": count.jobs if count else None,
        "more": count.more if count else False,
        "given": given,
    }
    extra = {"fault": fault, "most_canary": MOST_WATCHED}
    return Page(template="replay.html", model=model, extra=extra, status=400 if fault else 200)
