"""The JSON API in OpenAPI 3.1, made from the table of routes and the types of what is returned.

The invariant: every route of routes.py is described here; a test compares the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from turnout import __version__
from turnout.deploys import LONGEST, Deploy
from turnout.job import JobRecord, QueueStats, Retention, StoreInfo, WorkerInfo
from turnout.stacks import Told
from turnout.standing import Condition, Standing
from turnout.views import View
from turnout.web.holders import Holder
from turnout.web.ledger import Entry
from turnout.web.pages.overview import Alert, Row
from turnout.web.past import SPANS, Step
from turnout.web.routes import SPOTS, Spot
from turnout.web.story import Event
from turnout.web.why import Reason

if TYPE_CHECKING:
    from starlette.requests import Request

_TEXT: dict[str, Any] = {"type": "string"}
_ID: dict[str, Any] = {"type": "string", "format": "uuid"}
_NUMBER: dict[str, Any] = {"type": "integer"}
_AGE: dict[str, Any] = {"type": ["number", "null"]}
_FLAG: dict[str, Any] = {"type": "boolean"}


def show(request: Request) -> bytes:
    """Return the description, for this dashboard's address."""
    return msgspec.json.encode(describe(request.scope.get("root_path", "").rstrip("/")))


def describe(root: str) -> dict[str, Any]:
    """Return the description of a dashboard that is mounted at `root`."""
    kinds = (
        JobRecord, QueueStats, Row, WorkerInfo, StoreInfo, Retention, Reason, Event, Entry,
        Alert, Standing, Condition, Step, Told, Holder, View, Deploy,
    )  # fmt: skip
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    schemas["Job"] = _job(schemas)
    schemas["Group"] = _GROUP
    schemas["Problem"] = _object({"error": _TEXT, "detail": _TEXT})
    paths = {_address(spot): {spot.method.lower(): _operation(spot)} for spot in SPOTS}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Turnout's dashboard",
            "version": __version__,
            "description": (
                "What the pages show, as JSON. Times are seconds since the epoch. A program that "
                "changes something sends the headers Accept: application/json and "
                "Turnout-Client with its name."
            ),
        },
        "servers": [{"url": root or "/"}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SECURITY},
        "security": [{"basic": []}, {"bearer": []}, {}],
    }


_SECURITY = {
    "basic": {"type": "http", "scheme": "basic"},
    "bearer": {"type": "http", "scheme": "bearer"},
}


def _address(spot: Spot) -> str:
    if spot.method == "POST":
        return spot.path
    return ("/overview" if spot.path == "/" else spot.path) + ".json"


def _operation(spot: Spot) -> dict[str, Any]:
    doc = (spot.show.__doc__ or "").strip().splitlines()[0]
    name = f"{spot.show.__module__.rpartition('.')[2]}_{spot.show.__name__}"
    found: dict[str, Any] = {
        "operationId": name,
        "summary": doc,
        "description": f"Takes the role {spot.role}.",
        "parameters": _parameters(spot),
        "responses": _responses(spot, _ANSWERS.get(name, {"type": "object"})),
    }
    if spot.method == "POST":
        form = {"type": "object", **_FORMS.get(name, {})}
        content = {"application/x-www-form-urlencoded": {"schema": form}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _responses(spot: Spot, schema: dict[str, Any]) -> dict[str, Any]:
    found = {"200": _answer(schema), **_PROBLEMS}
    if spot.method == "GET":
        return found
    # OpenAPI leaves no parameter called Accept: who sends none gets what a browser's form gets.
    html = {"text/html": {"schema": _TEXT}}
    told = {code: {**one, "content": {**one["content"], **html}} for code, one in found.items()}
    return {**told, "303": {"description": "Done; a browser goes on to a page."}}


def _parameters(spot: Spot) -> list[dict[str, Any]]:
    found = [_in("path", "id", _ID)] if "{id}" in spot.path else []
    if spot.method == "POST":
        client = {"type": "string", "minLength": 1, "pattern": "^[A-Za-z0-9._-]+$"}
        return [*found, _in("header", "Turnout-Client", client)]
    return found + _QUERIES.get(spot.path, [])


def _in(place: str, name: str, schema: dict[str, Any], *, needed: bool = True) -> dict[str, Any]:
    return {"in": place, "name": name, "required": needed, "schema": schema}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _answer(schema: dict[str, Any], text: str = "As asked.") -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _job(schemas: dict[str, Any]) -> dict[str, Any]:
    """Return a job as pages show it: the record, secrets hidden, and a few words more."""
    record = schemas["JobRecord"]
    more = {"kind": _TEXT, "message": {"type": ["string", "null"]}, "why": _TEXT}
    more |= {"preview": _TEXT, "hides": _FLAG}
    return {**_object({**record["properties"], **more}), "title": "Job"}


_PROBLEMS = {
    status: _answer(_ref("Problem"), text)
    for status, text in {
        "400": "Something given cannot be read.",
        "401": "Nobody was named.",
        "403": "The role does not suffice, or the request came from another site.",
        "404": "There is no such thing.",
        "409": "It is in another state by now, or its arguments do not fit.",
        "413": "The form is too long.",
        "415": "The form is of another type.",
        "429": "Too many failed attempts.",
        "500": "A fault of ours.",
        "503": "The store does not answer.",
    }.items()
}
_GROUP = _object(
    {
        "task": _TEXT, "error": {"type": ["string", "null"]}, "count": _NUMBER, "first_at": _AGE,
        "last_at": _AGE, "message": {"type": ["string", "null"]}, "newest": _TEXT,
        "queues": _list(_TEXT),
    }
)  # fmt: skip
_REPLAY = _object(
    {
        "id": _TEXT, "query": _TEXT, "by": _TEXT, "begun_at": {"type": "number"},
        "phase": {"enum": ["canary", "running", "finishing", "done", "stopped"]}, "why": _TEXT,
        "expected": _NUMBER, "expected_more": _FLAG, "sent": _NUMBER,
        "passed_over": _NUMBER, "succeeded": _NUMBER, "failed": _NUMBER, "watching": _NUMBER,
        "plan": {"type": "object"},
    }
)  # fmt: skip
_TOLD = {"anyOf": [_ref("Told"), {"type": "null"}]}
_PAGE_QUERY = [
    _in("query", "limit", {"type": "integer", "minimum": 1, "maximum": 200}, needed=False),
    _in("query", "after", _ID, needed=False),
]
_SHORT = {"type": "string", "maxLength": 500}
_NAME = {**_SHORT, "minLength": 1}
_SPAN = _in("query", "last", {"enum": [*SPANS]}, needed=False)
_QUERIES: dict[str, list[dict[str, Any]]] = {
    "/": [_SPAN],
    "/tasks": [_SPAN],
    "/tasks/one": [_in("query", "task", _NAME), _SPAN],
    "/jobs": [_in("query", "q", _SHORT, needed=False), *_PAGE_QUERY],
    "/replays/new": [_in("query", "q", _SHORT, needed=False)],
    "/workers/one": [_in("query", "epoch", _NAME)],
    "/dead/group": [
        _in("query", "task", _NAME),
        _in("query", "error", _SHORT, needed=False),
        _in("query", "after", _ID, needed=False),
    ],
}
_PAST: dict[str, Any] = {
    "last": {"enum": [*SPANS]}, "step": _NUMBER, "steps": _list(_ref("Step")),
    "deploys": {"anyOf": [_list(_ref("Deploy")), {"type": "null"}]},
}  # fmt: skip
_FIGURES = _object(
    {
        "task": _TEXT, "attempts": _NUMBER, "failed": _NUMBER, "outcomes": {"type": "object"},
        "run": {"type": "object"}, "wait": {"type": "object"},
    }
)  # fmt: skip
_DONE = _object({"done": _FLAG})
_JOB_PAGE = _object(
    {
        "job": _ref("Job"), "reasons": _list(_ref("Reason")), "timeline": _list(_ref("Event")),
        "holders": _list(_ref("Holder")), "known_task": _FLAG, "actions": _list(_TEXT),
        "python": {"type": ["string", "null"]},
    }
)  # fmt: skip
_ANSWERS: dict[str, dict[str, Any]] = {
    "overview_show": _object(
        {
            "at": {"type": "number"}, "totals": {"type": "object"}, "queues": _list(_ref("Row")),
            "workers": _list(_ref("WorkerInfo")), "groups": _list(_ref("Group")),
            "alerts": _list(_ref("Alert")), **_PAST,
        }
    ),
    "tasks_show": _object({**_PAST, "tasks": _list(_FIGURES), "idle": _list(_TEXT)}),
    "tasks_one": _object(
        {
            **_PAST, "task": _TEXT, "figures": {"anyOf": [_FIGURES, {"type": "null"}]},
            "groups": _list(_ref("Group")), "groups_complete": _FLAG, "jobs": _list(_ref("Job")),
        }
    ),
    "queues_show": _object({"at": {"type": "number"}, "queues": _list(_ref("Row"))}),
    "jobs_show": _object(
        {
            "query": _TEXT, "faults": _list(_TEXT), "remarks": _list(_TEXT),
            "jobs": _list(_ref("Job")), "end": {"enum": ["full", "complete", "unfinished"]},
            "next": {"type": ["string", "null"]}, "looked_at": _NUMBER, "looked_back_to": _AGE,
            "views": _list(_ref("View")),
        }
    ),
    "views_save": _DONE, "views_forget": _DONE, "queues_pause": _DONE, "limits_act": _DONE,
    "job_show": _JOB_PAGE, "job_reveal": _JOB_PAGE,
    "dead_show": _object(
        {
            "groups": _list(_ref("Group")), "looked_at": _NUMBER, "complete": _FLAG,
            "dead": _NUMBER,
        }
    ),
    "dead_preview": _object({"count": _NUMBER, "more": _FLAG, "samples": _list(_ref("Job"))}),
    "dead_act": _object({"done": _FLAG, "changed": _NUMBER}),
    "replays_show": _object({"replays": _list(_REPLAY), "workers": _NUMBER}),
    "replays_new": _object({"query": _TEXT, "jobs": _NUMBER, "more": _FLAG}),
    "replays_start": _object({"done": _FLAG, "id": _TEXT, "expected": _NUMBER}),
    "replays_stop": _object({"done": _FLAG, "id": _TEXT, "sent": _NUMBER}),
    "limits_show": _object(
        {
            "limits": _list(_ref("Standing")), "dependencies": _list(_ref("Condition")),
            "holders": _list(_ref("Holder")),
        }
    ),
    "workers_order": _DONE, "deploys_mark": {"allOf": [_DONE, _ref("Deploy")]},
    "workers_show": _object({"workers": _list(_ref("WorkerInfo")), "unserved": _list(_TEXT)}),
    "workers_one": _object(
        {"worker": _ref("WorkerInfo"), "jobs": _list(_ref("Job")), "told": _TOLD}
    ),
    "about_store": _object({"store": _ref("StoreInfo"), "retention": _ref("Retention")}),
    "about_audit": _object({"entries": _list(_ref("Entry"))}),
}  # fmt: skip


def _form(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"properties": properties, "required": required, "additionalProperties": False}


_ACTION = {"enum": ["retry", "cancel", "delete"]}
_SURE = {"enum": ["yes"]}
_IDS = {**_list(_ID), "minItems": 1, "maxItems": 200}
_FORMS: dict[str, dict[str, Any]] = {
    "queues_pause": _form(["queue", "paused"], queue=_NAME, paused={"enum": ["yes", "no"]}),
    "limits_act": _form(
        ["name", "action"], name=_NAME, action={"enum": ["open", "close", "reset"]}
    ),
    "replays_start": _form(
        ["q"],
        q=_SHORT, rate=_TEXT, canary=_TEXT, canary_share=_TEXT, canary_within=_TEXT, stop_at=_TEXT,
    ),
    "replays_stop": _form(["id"], id=_TEXT), "views_forget": _form(["name"], name=_TEXT),
    "views_save": _form(["name", "q"], name=_TEXT, q=_SHORT),
    "workers_order": _form(
        ["epoch", "order", "sure"],
        epoch=_TEXT, order={"enum": ["quiet", "stop", "dump"]}, sure=_SURE,
    ),
    "jobs_act": _form(["action", "id", "sure"], action=_ACTION, id=_IDS, sure=_SURE),
    "job_act": _form(["action", "sure"], action=_ACTION, sure=_SURE),
    "job_again": _form([], args=_TEXT), "job_reveal": _form([]),
    "deploys_mark": _form(["label"], label={**_TEXT, "minLength": 1, "maxLength": LONGEST}),
    "dead_act": _form(
        ["task", "action"],
        task=_NAME, error=_SHORT, action={"enum": ["retry", "delete"]}, after=_ID,
    ),
}  # fmt: skip
