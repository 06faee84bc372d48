"""The list of jobs: a query, a page at a time, and actions on those that are ticked.

The invariant: the address is the state, so that a link shows a colleague the same; and an action
takes ids only, at most a page of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from turnout import finding, search, views
from turnout.errors import StoreUnavailable
from turnout.job import Action, JobFilter, JobRecord, State
from turnout.replay import REPLAYED
from turnout.web.visit import MOST_LIMIT, Moved, Page, Refusal, checked_id, chosen

if TYPE_CHECKING:
    from turnout.views import View
    from turnout.web.visit import Visit

ACTIONS = ("retry", "cancel", "delete")
PREVIEW = 120  # characters of arguments in a row

SHORTCUTS = (
    ("all", ""),
    *((name, f"state:{name}") for name in ("ready", "running", "scheduled", "retrying")),
    *((name, f"state:{name}") for name in ("dead", "succeeded", "discarded", "cancelled")),
)


def show(visit: Visit) -> Page:
    """Show a page of jobs, newest first."""
    look = visit.desk.pulse.look()
    names = [one.queue for one in (*look.queues, *look.lanes)]
    query = search.parse(visit.given("q", most=2_000), visit.now, visit.jobs.tasks, names)
    if query.faults and visit.wants_json:
        raise Refusal(400, " ".join(query.faults))
    limit, after = visit.limit(), visit.after()
    found = finding.Found(jobs=[], end="complete")
    if not query.faults:
        store, shown = visit.jobs.store, visit.desk.redactor.hide
        found = finding.find(store, query, look, limit=limit, after=after, shown=shown)
    model: dict[str, Any] = {
        "query": query.text,
        "faults": query.faults,
        "remarks": query.remarks,
        "jobs": [job_model(visit, one) for one in found.jobs],
        "end": found.end,
        "next": found.next,
        "looked_at": found.looked_at,
        "looked_back_to": found.looked_back_to,
        "views": _saved_views(visit),
    }
    replayable = bool(query.states) and set(query.states) <= set(REPLAYED) and not query.views
    extra = {"shortcuts": SHORTCUTS, "after": after, "limit": limit, "replayable": replayable}
    return Page(template="jobs.html", model=model, extra=extra, status=400 if query.faults else 200)


def _saved_views(visit: Visit) -> list[View]:
    try:
        return views.saved(visit.jobs.store)
    except StoreUnavailable:  # one shard of several: the jobs of the others are worth showing
        return []


def job_model(visit: Visit, record: JobRecord, *, revealed: bool = False) -> dict[str, Any]:
    """Return a job as pages and programs see it: secrets hidden unless `revealed`."""
    shown = record if revealed else visit.desk.redactor.hide(record)
    fields = {name: getattr(shown, name) for name in JobRecord.__struct_fields__}
    preview = shown.args or ""
    return {
        **fields,
        "kind": kind(record, visit.now),
        "message": shown.message,
        "why": shown.why[:500],
        "preview": preview if len(preview) <= PREVIEW else preview[:PREVIEW] + "…",
        "hides": shown != record,
    }


def kind(record: JobRecord, now: float) -> str:
    """Return the state as people see it: a queued job is ready, scheduled or retrying."""
    if record.state is not State.QUEUED:
        return str(record.state)
    if record.run_at is None or record.run_at <= now:
        return "ready"
    return "retrying" if record.attempt else "scheduled"


def act(visit: Visit) -> Page | Moved:
    """Retry, cancel or delete the ticked jobs; deleting asks once more."""
    action = chosen("action", visit.field("action"), ACTIONS)
    ids = tuple(dict.fromkeys(checked_id(one) for one in visit.fields("id")))
    if not ids or len(ids) > MOST_LIMIT:
        msg = f"Tick 1 to {MOST_LIMIT} jobs first; {len(ids)} were."
        raise Refusal(400, msg)
    query = visit.field("q", most=search.LONGEST)
    if action == "delete" and visit.field("sure") != "yes":
        model: dict[str, Any] = {"action": action, "ids": ids, "query": query}
        return Page(template="sure.html", model=model)
    where = JobFilter(ids=ids)
    changed = visit.jobs.store.change(where, cast("Action", action), limit=len(ids))
    visit.write(action, f"{len(ids)} jobs of the list: {', '.join(ids[:3])}…", changed)
    from urllib.parse import urlencode

    said = "changed" if changed else "unchanged"
    to = "/jobs?" + urlencode({"q": query, "said": said})
    return Moved(to=to, said={"action": action, "asked": len(ids), "changed": changed})
