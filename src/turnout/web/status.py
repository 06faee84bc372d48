"""`status_app`: an ASGI application by which a browser follows its own job.

    GET /TOKEN           what the job is now, as JSON
    GET /TOKEN/events    and whenever it changes: server-sent events until the job has ended

A token of `job.status_token()` names one job and is all that is asked for. The invariant: an answer
says what `Status` says of that job, and nothing else.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from turnout.errors import ConfigError
from turnout.tokens import Grant, read
from turnout.web.watching import Hub, Status, Watcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from turnout.app import Turnout
    from turnout.job import JobId

MOST_EACH = 16  # streams of one job
PATIENCE = 5.0  # seconds until a request is told that the store does not answer
LONGEST = 3_600.0  # seconds of one stream; browsers come back by themselves
QUIET = 15.0  # seconds after which a stream says that it is still there
CLOSEST, FURTHEST = 0.05, 60.0  # seconds between two looks
_LAST = "end"  # the id of the last event: who comes back with it has heard everything

HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",  # the address is the key
    "x-content-type-options": "nosniff",
}


def status_app(
    jobs: Turnout, *, every: float = 0.5, streams: int = 1_000, positions: bool = True
) -> ASGIApp:
    """Return the application, to be mounted under any path.

    The store is asked `every` so many seconds (0.05 to 60), once for all streams of the process;
    `streams` of them may be open at a time (0: none, for servers with a thread a request);
    `positions=False` keeps the length of queues to yourself. Raises ConfigError without a `secret`.
    """
    if not jobs.config.secret:
        msg = "status_app needs a secret: Turnout(..., secret=) or TURNOUT_SECRET"
        raise ConfigError(msg)
    if not CLOSEST <= every <= FURTHEST:
        msg = f"status_app(every=) takes {CLOSEST:g} to {FURTHEST:g} seconds, got {every!r}"
        raise ConfigError(msg)
    if not isinstance(streams, int) or streams < 0:
        msg = f"status_app(streams=) takes a whole number from 0, got {streams!r}"
        raise ConfigError(msg)
    return _StatusApp(jobs, Hub(jobs, every, positions=positions), streams).app


class _StatusApp:
    """The two routes over one hub."""

    def __init__(self, jobs: Turnout, hub: Hub, most: int) -> None:
        self._jobs = jobs
        self._hub = hub
        self._most = most
        self._open: Counter[JobId] = Counter()
        handlers: Any = {HTTPException: _refused}
        routes = [Route("/{token}", self._now), Route("/{token}/events", self._events)]
        self.app = Starlette(routes=routes, exception_handlers=handlers)
        self.app.router.redirect_slashes = False

    def _grant(self, request: Request) -> Grant:
        grant = read(request.path_params["token"], self._jobs.config.secret)
        if grant is None:
            raise HTTPException(404, "there is no such token")
        if grant.expires_at <= self._jobs.clock():
            raise HTTPException(410, "this token has expired")
        return grant

    async def _now(self, request: Request) -> Response:
        watcher = self._hub.watch(self._grant(request))
        try:
            status = await watcher.next(PATIENCE)
        finally:
            self._hub.leave(watcher)
        if status is None:
            raise HTTPException(503, "the store does not answer: try again in a moment")
        return _json(status, 404 if status.state == "unknown" else 200)

    async def _events(self, request: Request) -> Response:
        grant = self._grant(request)
        if request.headers.get("last-event-id") == _LAST:
            return Response(status_code=204, headers=HEADERS)  # by which browsers stop asking
        if not self._most:
            raise HTTPException(404, "there are no streams here: ask for the status itself")
        if self._open[grant.job_id] >= MOST_EACH or self._open.total() >= self._most:
            raise HTTPException(503, "too many are watching: ask for the status now and then")
        left = min(LONGEST, grant.expires_at - self._jobs.clock())
        return _Stream(self, grant, left)

    def enter(self, grant: Grant) -> Watcher:
        """Count a stream in."""
        self._open[grant.job_id] += 1
        return self._hub.watch(grant)

    def leave(self, watcher: Watcher) -> None:
        """Count a stream out."""
        self._hub.leave(watcher)
        self._open[watcher.job_id] -= 1
        self._open += Counter()  # those at zero go


class _Stream(StreamingResponse):
    """A stream that is counted for as long as it is answered, however that ends."""

    def __init__(self, app: _StatusApp, grant: Grant, left: float) -> None:
        self._app = app
        self._grant = grant
        self._left = left
        headers = {**HEADERS, "x-accel-buffering": "no"}
        super().__init__((), media_type="text/event-stream", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watcher = self._app.enter(self._grant)
        try:
            self.body_iterator = _lines(watcher, self._left)
            await super().__call__(scope, receive, send)
        finally:
            self._app.leave(watcher)


async def _lines(watcher: Watcher, left: float) -> AsyncIterator[bytes]:
    end = time.monotonic() + left
    yield b"retry: 2000\n\n"
    while (rest := end - time.monotonic()) > 0:
        status = await watcher.next(min(QUIET, rest))
        if status is None:
            yield b": still here\n\n"
            continue
        mark = f"id: {_LAST}\n".encode() if status.ended else b""
        yield mark + b"data: " + msgspec.json.encode(status) + b"\n\n"
        if status.ended:
            return


def _json(body: object, code: int, **more: str) -> Response:
    text = msgspec.json.encode(body)
    return Response(text, code, {**HEADERS, **more}, media_type="application/json")


async def _refused(_request: Request, error: HTTPException) -> Response:
    more = {"retry-after": "5"} if error.status_code == 503 else {}  # noqa: PLR2004 - HTTP's own
    return _json({"error": error.detail}, error.status_code, **{**more, **(error.headers or {})})


__all__ = ["Status", "status_app"]
