"""One job: where it stands and why, its whole story, and what can be done with it.

The invariant: hidden arguments leave this process only for an admin who asked for them, and that is
in the audit log before they are shown.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

from turnout.errors import ConfigError, EnqueueError
from turnout.job import Action, JobFilter, JobRecord, State
from turnout.limits.carried import carried_by
from turnout.standing import in_the_way
from turnout.web.again import as_python, enqueue_again, pretty, signature_of
from turnout.web.holders import Holder, holders, keys_of
from turnout.web.pages.jobs import ACTIONS, job_model
from turnout.web.redact import HIDDEN
from turnout.web.story import timeline
from turnout.web.visit import Moved, Page, Refusal, chosen
from turnout.web.why import Reason, explain, held_back

if TYPE_CHECKING:
    from turnout.web.visit import Visit

LONGEST_ARGS = 1_500_000
_SAID = {"retry": "retried", "cancel": "cancelled", "delete": "deleted"}


def show(visit: Visit) -> Page:
    """Show one job."""
    return _page(visit, visit.record(), revealed=False)


def reveal(visit: Visit) -> Page:
    """Show one job with its hidden arguments, and log who asked."""
    record = visit.record()
    visit.write("reveal", f"arguments of job {record.id}")
    return _page(visit, record, revealed=True)


def _page(visit: Visit, record: JobRecord, *, revealed: bool) -> Page:
    look = visit.desk.pulse.look(fresh="said" in visit.query)
    job = job_model(visit, record, revealed=revealed)
    shown = record if revealed else visit.desk.redactor.hide(record)
    model: dict[str, Any] = {
        "job": job,
        "reasons": explain(shown, look, visit.jobs.tasks, _held(visit, record, shown)),
        "holders": _holders(visit, record, shown),
        "timeline": timeline(shown, visit.now),
        "known_task": record.task in visit.jobs.tasks,
        "python": as_python(visit.jobs, record, hidden=job["hides"]),
        "actions": possible(record, visit.now),
    }
    extra = {
        "revealed": revealed,
        "texts": {name: pretty(job[name]) for name in ("args", "result", "progress", "context")},
        "queue": look.queue(record.queue),
    }
    return Page(template="job.html", model=model, extra=extra)


def _held(visit: Visit, record: JobRecord, shown: JobRecord) -> list[Reason]:
    """Return which limits hold a queued job back, by their names as they may be shown."""
    carried, named = carried_by(record.context or ""), carried_by(shown.context or "")
    if record.state is not State.QUEUED or carried is None:
        return []
    limits, dependency = in_the_way(visit.jobs, carried)
    if record.context != shown.context:  # a hidden argument may be part of a key
        names = [one.key for one in named.limits] if named else []
        limits = [
            replace(one, key=name)
            for one, name in zip_longest(limits, names, fillvalue=HIDDEN)
            if not isinstance(one, str)
        ]
    return held_back(limits, dependency, visit.now)


def _holders(visit: Visit, record: JobRecord, shown: JobRecord) -> list[Holder]:
    """Return who holds the slots that a queued job may wait for; none by a key that is hidden."""
    carried = carried_by(record.context or "")
    if record.state is not State.QUEUED or carried is None or record.context != shown.context:
        return []
    return holders(visit.jobs.store, keys_of(carried), now=visit.now)


def possible(record: JobRecord, now: float) -> list[str]:
    """Return which actions make sense on a job in its state."""
    if record.state is State.RUNNING:
        return [] if record.cancel_requested else ["cancel"]
    if record.state is State.QUEUED:
        ahead = record.run_at is not None and record.run_at > now
        return ["retry", "cancel", "delete"] if ahead else ["cancel", "delete"]
    return ["delete"] if record.state is State.SUCCEEDED else ["retry", "delete"]


def act(visit: Visit) -> Page | Moved:
    """Retry, cancel or delete one job; deleting asks once more."""
    action = chosen("action", visit.field("action"), ACTIONS)
    record = visit.record()
    if action == "delete" and visit.field("sure") != "yes":
        model: dict[str, Any] = {"action": action, "ids": (record.id,), "query": ""}
        return Page(template="sure.html", model=model)
    changed = visit.jobs.store.change(JobFilter(ids=(record.id,)), cast("Action", action), limit=1)
    visit.write(action, f"job {record.id} ({record.task})", changed)
    said = _SAID[action] if changed else "unchanged"
    gone = action == "delete" and changed
    to = f"/jobs?said={said}" if gone else f"/jobs/{record.id}?said={said}"
    return Moved(to=to, said={"id": record.id, "action": action, "changed": changed})


def edit(visit: Visit) -> Page:
    """Show a form with the job's arguments, to be run again with others."""
    record = visit.record()
    _check_editable(visit, record)
    return _form(visit, record, pretty(record.args), "")


def again(visit: Visit) -> Page | Moved:
    """Enqueue a new job with the form's arguments, or the same; faults come back to the form."""
    record = visit.record()
    text = visit.field("args", most=LONGEST_ARGS).strip()
    if text:
        _check_editable(visit, record)
    try:
        job = enqueue_again(visit.jobs, record, text or _args_of(record))
    except (EnqueueError, ConfigError) as error:
        if visit.wants_json or not text:
            raise Refusal(409, f"{error}") from None
        return _form(visit, record, text, f"{error}")
    edited = " with edited arguments" if text else ""
    if not job.enqueued:
        raise Refusal(409, "Another job holds its unique key, so nothing was enqueued.")
    visit.write("run again", f"job {record.id} ({record.task}){edited} as {job.id}")
    return Moved(to=f"/jobs/{job.id}?said=again", said={"id": job.id})


def _form(visit: Visit, record: JobRecord, text: str, fault: str) -> Page:
    model: dict[str, Any] = {"id": record.id, "task": record.task, "args": text, "fault": fault}
    extra = {"signature": signature_of(visit.jobs, record.task), "queue": record.queue}
    return Page(template="edit.html", model=model, extra=extra, status=400 if fault else 200)


def _args_of(record: JobRecord) -> str:
    if record.args is None:
        raise Refusal(
            409,
            "Of a plain success only the trace is kept, without its arguments: enqueue it anew.",
        )
    return record.args


def _check_editable(visit: Visit, record: JobRecord) -> None:
    _args_of(record)
    if record.task not in visit.jobs.tasks:
        msg = (
            f"This application knows no task named {record.task}, so its arguments cannot be "
            "checked: start the dashboard with the application that has it."
        )
        raise Refusal(409, msg)
    if visit.desk.redactor.hides(record) and not visit.person.may("admin"):
        raise Refusal(403, "This job has hidden arguments: only an admin may edit them.")
    if visit.desk.redactor.hides(record):
        visit.write("reveal", f"arguments of job {record.id}, to edit them")
