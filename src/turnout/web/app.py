"""`dashboard`: the ASGI application, from the request to the answer.

    request -> static file? -> who is it? -> does it change something? the locks of guard.py
            -> may they? -> the page, in a thread, within PATIENCE -> HTML or JSON -> headers

The invariant: every answer leaves with the headers of guard.py, and no page runs before `authorize`
has named a person whose role suffices.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from turnout.errors import (
    ConfigError,
    StoreBusy,
    StoreError,
    StoreSlow,
    StoreUnavailable,
    TurnoutError,
)
from turnout.web import exposition, guard, live, openapi, static
from turnout.web.auth import ROLES, Authorize, Person, TooManyAttempts, challenge, identify
from turnout.web.incoming import make_visit, run_page
from turnout.web.ledger import Ledger
from turnout.web.past import Archive
from turnout.web.pulse import Pulse
from turnout.web.redact import Redactor
from turnout.web.render import make_templates, problem, render
from turnout.web.routes import SPOTS, Spot
from turnout.web.visit import Desk, Refusal

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from turnout.app import Turnout
    from turnout.web.auth import Role

_log = logging.getLogger("turnout.web")

# What is answered otherwise than by a page, to whoever may see the pages.
_OTHERS: dict[str, Callable[[Request, Desk], Awaitable[Response]]] = {
    "/live": live.stream,
    "/metrics": exposition.serve,
}


def dashboard(
    jobs: Turnout,
    *,
    authorize: Authorize,
    hide: Iterable[str] = (),
    title: str = "Turnout",
    read_only: bool = False,
) -> ASGIApp:
    """Return the dashboard of an application, to be mounted under any path.

    `authorize(request)` says who looks: "viewer", "operator", "admin", a `Person`, None for nobody,
    or a response such as a redirect to a login; a plain function runs in a thread. `hide` names
    further argument keys to hide; `read_only` leaves every action out. Raises ConfigError for an
    `authorize` that cannot be called.
    """
    if not callable(authorize):
        msg = f"authorize= takes a callable that gets the request, got {authorize!r:.80}"
        raise ConfigError(msg)
    desk = Desk(
        jobs=jobs,
        title=title,
        read_only=read_only,
        redactor=Redactor(jobs, hide),
        pulse=Pulse(lambda: jobs.store, jobs.clock),
        archive=Archive(lambda: jobs.store, jobs.clock),
        ledger=Ledger(jobs.store),
        templates=make_templates(),
    )
    return _Dashboard(desk, authorize).app


class _Dashboard:
    """The routes over one desk."""

    def __init__(self, desk: Desk, authorize: Authorize) -> None:
        self._desk = desk
        self._authorize = authorize
        small = [Middleware(GZipMiddleware)]  # no page: what it echoes could tell of its secrets
        routes = [Route("/static/{name}", static.serve, middleware=small)]
        routes += [Route(path, self._endpoint(path), methods=["GET"]) for path in _OTHERS]
        routes.append(Route("/openapi.json", self._endpoint(openapi.show), methods=["GET"]))
        for spot in SPOTS:
            path = "/overview" if spot.path == "/" else spot.path
            if spot.method == "GET":
                routes.append(Route(path + ".json", self._endpoint(spot), methods=["GET"]))
            routes.append(Route(spot.path, self._endpoint(spot), methods=[spot.method]))
        handlers: Any = {HTTPException: self._unknown, Exception: self._broken}
        self.app = Starlette(routes=routes, exception_handlers=handlers)
        self.app.state.desk = desk

    def _endpoint(self, spot: Any) -> Any:
        async def endpoint(request: Request) -> Response:
            return await self._answer(request, spot)

        return endpoint

    async def _answer(self, request: Request, spot: Spot | Any) -> Response:
        token: str | None = None
        try:
            person = await identify(self._authorize, request)
            if not isinstance(person, Person):
                return guard.protect(request, person or self._who_are_you(request), None)
            token = guard.token_of(request)
            response = await self._let_in(request, spot, person, token)
        except Refusal as refusal:
            response = self._problem(request, refusal.status, refusal.text)
        except TooManyAttempts:
            text = "Too many failed attempts from this address: wait a minute."
            response = self._problem(request, 429, text)
        except ClientDisconnect:
            response = Response(status_code=400)
        except TurnoutError as error:
            response = self._fault(request, error)
        return guard.protect(request, response, token)

    async def _let_in(self, request: Request, spot: Any, person: Person, token: str) -> Response:
        if isinstance(spot, str):
            return await _OTHERS[spot](request, self._desk)
        if not isinstance(spot, Spot):
            return Response(spot(request), media_type="application/json")
        self._check_role(spot.role, spot.method, person)
        visit = await make_visit(request, self._desk, person, token)
        if spot.method == "POST":
            why = guard.fault(request, visit.field(guard.FIELD))
            if why is not None:
                raise Refusal(403, f"This was refused: {why}.")
        return render(request, visit, await run_page(spot.show, visit))

    def _check_role(self, role: Role, method: str, person: Person) -> None:
        if not person.may(role):
            needed = " or ".join(ROLES[ROLES.index(role) :])
            raise Refusal(403, f"This takes the role {needed}; you are {person.role}.")
        if method == "POST" and self._desk.read_only:
            raise Refusal(403, "This dashboard is read-only.")

    def _who_are_you(self, request: Request) -> Response:
        offer = challenge(self._authorize)
        if not offer:
            text = "You are not allowed to see this dashboard: authorize named nobody."
            return self._problem(request, 403, text)
        response = self._problem(request, 401, "Who are you? Name and password, or a token.")
        response.headers["www-authenticate"] = offer
        return response

    def _fault(self, request: Request, error: TurnoutError) -> Response:
        if isinstance(error, StoreSlow):
            return self._problem(request, 503, _too_slow(request, error))
        if isinstance(error, StoreUnavailable | StoreBusy):
            return self._problem(request, 503, f"The store cannot be reached: {error}")
        if isinstance(error, StoreError):
            return self._problem(request, 500, f"{error}")
        _log.exception("a page of the dashboard failed", exc_info=error)
        return self._problem(request, 500, f"{error}")

    async def _unknown(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        text = "There is no such page." if status == 404 else "That is not possible here."  # noqa: PLR2004 - HTTP's
        response = self._problem(request, status, text)
        response.headers.update(getattr(error, "headers", None) or {})
        return guard.protect(request, response, None)

    async def _broken(self, request: Request, _error: Exception) -> Response:
        # Starlette logs it by raising it again once this answer is out.
        text = "This page failed; the log of the web server tells why."
        return guard.protect(request, self._problem(request, 500, text), None)

    def _problem(self, request: Request, status: int, text: str) -> Response:
        return problem(request, self._desk, status, text)


def _too_slow(request: Request, error: StoreSlow) -> str:
    if request.method == "POST":
        advice = "Some of what you asked may be done: look before you repeat it."
    else:
        advice = "Ask for less (a state, one task, a shorter time), or try again later."
    return f"No answer in time: {error}. {advice}"
