"""Answers made of a page's model: HTML by a template, or the same model as JSON.

The invariant: templates escape everything that is not markup of ours, and every text passes
`wording.plain` on its way into one.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast
from urllib.parse import quote, urlencode

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from turnout.web import charts, deployed, static, wording
from turnout.web.incoming import wants_json
from turnout.web.visit import Desk, Moved, Page, Visit

TITLES = {
    400: "That cannot be read",
    401: "Who are you?",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible",
    409: "It did not work",
    413: "Too long",
    415: "That cannot be read",
    429: "Too many attempts",
    503: "The store does not answer",
}


def make_templates() -> Environment:
    """Return the templates, set up to escape and to complain about names that are not there."""
    env = Environment(
        loader=PackageLoader("turnout.web"),
        autoescape=True,
        finalize=wording.plain,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(
        number=wording.number,
        duration=wording.duration,
        cut=wording.cut,
    )
    ours = {"gauge": charts.gauge, "plural": wording.plural, "icon": static.mark}
    names: dict[str, Any] = {
        **ours, "asset": static.asset, "most_deploys": deployed.MOST_LISTED,
    }  # fmt: skip
    cast("dict[str, Any]", env.globals).update(names)
    return env


def render(request: Request, visit: Visit, answer: Page | Moved) -> Response:
    """Return a page's answer in the form that was asked for."""
    if isinstance(answer, Moved):
        if wants_json(request):
            return _json({"done": True, **answer.said}, 200)
        return RedirectResponse(visit.root + answer.to, status_code=303)
    if wants_json(request):
        return _json(answer.model, answer.status)
    template = visit.desk.templates.get_template(answer.template)
    text = template.render(**_common(visit), **answer.model, **answer.extra)
    return Response(text, answer.status, media_type="text/html")


def problem(request: Request, desk: Desk, status: int, text: str) -> Response:
    """Return an error page, or its JSON."""
    title = TITLES.get(status, "Something went wrong")
    if wants_json(request):
        return _json({"error": title, "detail": text}, status)
    template = desk.templates.get_template("problem.html")
    root = request.scope.get("root_path", "").rstrip("/")
    page = template.render(
        title=desk.title, root=root, link=partial(link, root), heading=title, text=text
    )
    return Response(page, status, media_type="text/html")


def link(root: str, path: str, **query: Any) -> str:
    """Return an address within the dashboard; query values that are None or "" are left out."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return root + quote(path) + (f"?{urlencode(given)}" if given else "")


def _common(visit: Visit) -> dict[str, Any]:
    may_act = visit.person.may("operator") and not visit.desk.read_only
    return {
        "title": visit.desk.title,
        "root": visit.root,
        "link": partial(link, visit.root),
        "person": visit.person,
        "may_act": may_act,
        "token": visit.token,
        "now": visit.now,
        "when": partial(wording.time_tag, now=visit.now),
        "here": visit.url,
        "said": SAID.get(visit.query.get("said", ""), ""),
    }


# What a redirect may make the next page say: fixed sentences, so that no link can put words there.
SAID = {
    "paused": "The queue is paused. What runs, runs on.",
    "resumed": "The queue is resumed.",
    "retried": "It is back in its queue.",
    "cancelled": "It was cancelled, or asked to stop if it runs.",
    "deleted": "Deleted.",
    "again": "A new job was enqueued: this one.",
    "ordered": "The order is given: it arrives with the next heartbeat of that worker.",
    "opened": "The dependency is open: no call goes through until it is closed.",
    "closed": "The dependency is closed: calls go through.",
    "reset": "All that was learnt of the dependency is forgotten.",
    "replaying": "The replay began: a worker carries it out.",
    "halted": "The replay is stopped. What it sent stays in the queues.",
    "marked": "The deploy is marked on the charts.",
    "saved": "The view is saved, for all who look at this store.",
    "forgotten": "The view is forgotten.",
    "changed": "Done.",
    "unchanged": "Nothing was changed: its state is another by now, or its unique key is taken.",
}


def _json(model: dict[str, Any], status: int) -> Response:
    body = msgspec.json.encode(model, enc_hook=str)
    return Response(body, status, media_type="application/json")
