"""Reads a request into a `Visit`, and runs a page on it in a thread, for a bounded time.

The invariant: nothing is read that is longer than its cap, and a page that takes too long is
answered without it: at most `THREADS` of them run at once, given up ones included, and the next is
refused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import parse_qs

import anyio
from anyio import to_thread
from starlette.requests import Request

from turnout.store.patience import patient
from turnout.web.auth import Person
from turnout.web.visit import Desk, Refusal, Visit

T = TypeVar("T")

PATIENCE = 10.0  # seconds for one page, should the store not heed its own
THREADS = 16
MOST_QUERY, MOST_FORM, MOST_FIELDS = 4_000, 2_000_000, 250

_running = threading.BoundedSemaphore(THREADS)


async def make_visit(request: Request, desk: Desk, person: Person, token: str) -> Visit:
    """Return the request as pages see it; raises Refusal for what is too long or unreadable."""
    raw = request.scope.get("query_string", b"")
    if len(raw) > MOST_QUERY:
        raise Refusal(400, f"A query string has at most {MOST_QUERY:,} bytes.")
    query = {name: values[-1] for name, values in _parsed(raw).items()}
    form = await _read_form(request) if request.method == "POST" else {}
    root = request.scope.get("root_path", "").rstrip("/")
    return Visit(
        desk=desk,
        person=person,
        root=root,
        path=dict(request.path_params),
        query=query,
        form=form,
        now=desk.jobs.clock(),
        token=token,
        address=request.client.host if request.client else "",
        url=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        wants_json=wants_json(request),
    )


def wants_json(request: Request) -> bool:
    """Tell whether a program asks: by the address, or by Accept."""
    return request.url.path.endswith(".json") or _prefers_json(request)


def _prefers_json(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/html" not in accept


async def _read_form(request: Request) -> dict[str, list[str]]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/x-www-form-urlencoded", ""):
        raise Refusal(415, "A form is sent as application/x-www-form-urlencoded.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_FORM:
            raise Refusal(413, f"A form has at most {MOST_FORM:,} bytes.")
    return _parsed(bytes(body))


def _parsed(raw: bytes) -> dict[str, list[str]]:
    try:
        text = raw.decode("ascii")
        return parse_qs(text, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except (ValueError, UnicodeError):
        msg = f"Names and values are percent-encoded UTF-8, at most {MOST_FIELDS} of them."
        raise Refusal(400, msg) from None


async def run_page(show: Callable[[Visit], T], visit: Visit) -> T:
    """Return what a page answers; raises Refusal when that takes longer than PATIENCE."""

    def run() -> T:
        # A thread that is given up goes on until the store answers: those count until they end.
        if not _running.acquire(blocking=False):
            raise Refusal(503, "Too many pages wait for the store: try again in a moment.")
        try:
            with patient():
                return show(visit)
        finally:
            _running.release()

    with anyio.move_on_after(PATIENCE):
        return await to_thread.run_sync(run, abandon_on_cancel=True)
    msg = f"The store took longer than {PATIENCE:.0f} s to answer. Narrow the search, or try later."
    raise Refusal(503, msg)
