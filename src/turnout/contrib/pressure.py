"""Back-pressure between services: an ASGI and a WSGI layer that answer for a queue that is full.

    app = ASGIPressure(app, jobs, {"/orders": "mail", "/reports/": Target("reports", age="30s")})

A request whose path begins with one of these is answered 429 (or 503) with Retry-After, before the
application sees it, while the queue behind it is past its target; so is one during which the
application lets a QueueFull pass, before it has begun to answer. Reading (GET, HEAD, OPTIONS)
passes. The numbers are those of `jobs.backlog`, at most a quarter of a second old; while they
cannot be read, requests pass.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from turnout.ceiling import declared
from turnout.errors import ConfigError, QueueFull, StoreError

if TYPE_CHECKING:
    from turnout.app import Turnout

__all__ = ["ASGIPressure", "Target", "WSGIPressure"]

READING = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_STATUS = {429: "429 Too Many Requests", 503: "503 Service Unavailable"}
_LEAST, _MOST, _UNKNOWN = 1, 3_600, 30  # seconds of Retry-After
_SPREAD = 0.2  # or all callers would be back at once

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
StartResponse = Callable[..., Any]
WSGIApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class Target:
    """When the queue behind a path takes no more: `depth` jobs wait, or the oldest for `age`.

    Without either, the ceilings that `jobs.queue(...)` declares count. `age` is seconds, a
    timedelta or text such as "30s". `methods` are those that are answered; None: all that write.
    """

    def __init__(
        self,
        queue: str,
        *,
        depth: int | None = None,
        age: float | str | timedelta | None = None,
        methods: Iterable[str] | None = None,
    ) -> None:
        self.queue = queue
        given = {"max_depth": depth, "max_age": age}
        self.rule = declared(queue, **{name: value for name, value in given.items() if value})
        self.methods = None if methods is None else frozenset(map(str.upper, methods))

    def meets(self, method: str) -> bool:
        """Tell whether requests of this method are answered for the queue."""
        return method not in READING if self.methods is None else method in self.methods


class Watch:
    """Which paths stand for which queues, and what is answered for them."""

    def __init__(self, jobs: Turnout, paths: Mapping[str, str | Target], status: int) -> None:
        if status not in _STATUS:
            msg = f"status= is 429 or 503, got {status!r}"
            raise ConfigError(msg)
        self.status = status
        self._pressure = jobs.pressure
        found = {
            path: target if isinstance(target, Target) else Target(target)
            for path, target in paths.items()
        }
        for path, target in found.items():
            jobs.check_queue(target.queue)
            declares = jobs.pressure.ceilings.get(target.queue)
            if not target.rule.has_ceiling:
                if declares is None:
                    msg = (
                        f"path {path!r}: queue {target.queue!r} has no ceiling: declare one by "
                        "jobs.queue(...), or give Target(..., depth=) or age="
                    )
                    raise ConfigError(msg)
                target.rule = declares
            if not path.startswith("/"):
                msg = f"a path begins with a slash, got {path!r}"
                raise ConfigError(msg)
        self._paths = sorted(found.items(), key=lambda pair: -len(pair[0]))  # the longest first

    def target(self, method: str, path: str) -> Target | None:
        """Return what stands behind a request; None for nothing."""
        for prefix, target in self._paths:
            whole = prefix.rstrip("/")
            if path == whole or path.startswith(whole + "/"):
                return target if target.meets(method) else None
        return None

    def refusal(self, target: Target) -> QueueFull | None:
        """Return why a request is refused now; None when there is room for what it enqueues."""
        try:
            return self._pressure.refusal(target.rule, 1)
        except StoreError:
            return None

    def answer(self, full: QueueFull) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return status, headers and body; the body names neither store nor numbers of others."""
        seconds = retry_after(full)
        body = json.dumps({"error": "queue full", "queue": full.queue, "retry_after": seconds})
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("retry-after", str(seconds)),
            ("cache-control", "no-store"),
        ]
        return self.status, headers, body.encode()


def retry_after(full: QueueFull) -> int:
    """Return the seconds to stay away, whole and from 1 to 3,600, a little spread."""
    drain = _UNKNOWN if full.drain_seconds is None else full.drain_seconds
    spread = 1 + _SPREAD * random.random()
    return max(_LEAST, min(_MOST, math.ceil(drain * spread)))


class ASGIPressure:
    """The layer around an ASGI application; `status` is 429 or 503."""

    def __init__(
        self, app: ASGIApp, jobs: Turnout, paths: Mapping[str, str | Target], status: int = 429
    ) -> None:
        self._app = app
        self._watch = Watch(jobs, paths, status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in the application's place while a queue is full."""
        target = None
        if scope["type"] == "http":
            target = self._watch.target(scope["method"], scope["path"])
        if target is None:
            await self._app(scope, receive, send)
            return
        full = await asyncio.to_thread(self._watch.refusal, target)
        if full is not None:
            await self._answer(full, send)
            return
        begun = False

        async def sends(message: dict[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sends)
        except QueueFull as error:
            if begun:
                raise
            await self._answer(error, send)

    async def _answer(self, full: QueueFull, send: Send) -> None:
        status, headers, body = self._watch.answer(full)
        raw = [(name.encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})


class WSGIPressure:
    """The layer around a WSGI application; `status` is 429 or 503."""

    def __init__(
        self, app: WSGIApp, jobs: Turnout, paths: Mapping[str, str | Target], status: int = 429
    ) -> None:
        self._app = app
        self._watch = Watch(jobs, paths, status)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer in the application's place while a queue is full."""
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        target = self._watch.target(environ["REQUEST_METHOD"], path)
        if target is None:
            return self._app(environ, start_response)
        full = self._watch.refusal(target)
        if full is None:
            try:
                return self._app(environ, start_response)
            except QueueFull as error:
                full = error
        status, headers, body = self._watch.answer(full)
        start_response(_STATUS[status], headers)
        return [body]
