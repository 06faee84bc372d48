"""Who looks: a callable takes the request and answers with a role, a person, or nobody.

    viewer      sees everything but hidden arguments
    operator    also pauses, retries, cancels, deletes, runs again
    admin       also reads hidden arguments, which is logged

`basic`, `token` and `local_only` make such callables; an application brings its own to use its
sessions. The invariant: without an answer that names one of the three roles, nothing is shown.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import inspect
import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any, Literal, TypeAlias, cast, get_args

import msgspec
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from turnout.errors import ConfigError

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[str, ...] = get_args(Role)
MOST_FAILURES, FAILURE_WINDOW, MOST_HOSTS = 20, 60.0, 1_000


class Person(msgspec.Struct, frozen=True):
    """Who looks, and what they may do; `name` goes into the audit log."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Tell whether this person's role includes `role`."""
        return ROLES.index(self.role) >= ROLES.index(role)


Answer: TypeAlias = Person | Role | Response | None
Authorize: TypeAlias = Callable[[Request], Answer | Awaitable[Answer]]


class TooManyAttempts(Exception):
    """One address has failed to authenticate too often lately."""


async def identify(authorize: Authorize, request: Request) -> Person | Response | None:
    """Ask `authorize`, in a thread unless it is a coroutine function, and check what it says.

    Raises ConfigError when the answer is neither a role, a Person, a response nor None.
    """
    if inspect.iscoroutinefunction(authorize):
        answer: Any = await authorize(request)
    else:
        answer = await to_thread.run_sync(authorize, request)
        if inspect.isawaitable(answer):
            answer = await answer
    if answer is None or isinstance(answer, Response):
        return answer
    if isinstance(answer, Person) and answer.role in ROLES:
        return answer
    if isinstance(answer, str) and answer in ROLES:
        return Person(answer, cast("Role", str(answer)))
    msg = f"authorize returns viewer, operator, admin, a Person or None; got {answer!r:.80}"
    raise ConfigError(msg)


def basic(users: Mapping[str, tuple[str, Role]]) -> Authorize:
    """Return an `authorize` for HTTP Basic: name -> (password, role).

    Raises ConfigError for an empty list, an empty password or an unknown role.
    """
    known = {name: (_digest(password), Person(name, role)) for name, (password, role) in
             _checked(users).items()}  # fmt: skip
    nobody = (_digest("\0"), None)

    def authorize(request: Request) -> Person | None:
        given = _credentials(request, "basic")
        if given is None:
            return None
        with_throttle = _Attempt(throttle, request)
        name, colon, password = _unpacked(given).partition(":")
        digest, person = known.get(name, nobody)
        right = hmac.compare_digest(digest, _digest(password)) and bool(colon)
        return with_throttle.judge(person if right else None)

    throttle = Throttle()
    authorize.challenge = 'Basic realm="Turnout", charset="UTF-8"'  # type: ignore[attr-defined]
    return authorize


def token(tokens: Mapping[str, Person | Role]) -> Authorize:
    """Return an `authorize` for `Authorization: Bearer TOKEN`: token -> person or role.

    Raises ConfigError for tokens of fewer than 16 characters and for unknown roles.
    """
    if not tokens or any(len(one) < 16 for one in tokens):  # noqa: PLR2004 - said in the message
        raise ConfigError("token() takes at least one token, each of 16 characters or more")
    people = [one if isinstance(one, Person) else Person("token", one) for one in tokens.values()]
    _check_roles(one.role for one in people)
    known = list(zip(map(_digest, tokens), people, strict=True))

    def authorize(request: Request) -> Person | None:
        given = _credentials(request, "bearer")
        if given is None:
            return None
        with_throttle = _Attempt(throttle, request)
        digest = _digest(given)
        matches = [who for one, who in known if hmac.compare_digest(one, digest)]
        return with_throttle.judge(matches[0] if matches else None)

    throttle = Throttle()
    authorize.challenge = 'Bearer realm="Turnout"'  # type: ignore[attr-defined]
    return authorize


def any_of(*several: Authorize) -> Authorize:
    """Return an `authorize` that asks each in turn and takes the first answer."""

    async def authorize(request: Request) -> Person | Response | None:
        for one in several:
            found = await identify(one, request)
            if found is not None:
                return found
        return None

    offers = [offer for offer in map(challenge, several) if offer]
    authorize.challenge = ", ".join(offers)  # type: ignore[attr-defined]
    return authorize


def challenge(authorize: Authorize) -> str:
    """Return what WWW-Authenticate should say; "" where the browser has nothing to ask."""
    return str(getattr(authorize, "challenge", ""))


def local_only(request: Request) -> Role | None:
    """Let people of this very machine be admins: a loopback client that names a loopback host.

    The Host header is looked at so that a page elsewhere cannot reach in by a name of its own that
    resolves to 127.0.0.1; a request that a proxy handed on is refused.
    """
    forwarded = any(name in request.headers for name in ("x-forwarded-for", "forwarded", "via"))
    client = request.client.host if request.client else ""
    local = is_loopback(client) and is_loopback(request.url.hostname or "")
    return "admin" if local and not forwarded else None


def is_loopback(host: str) -> bool:
    """Tell whether a host, by name or address, is this machine alone."""
    if host in {"localhost", "localhost."}:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Throttle:
    """Counts failures by client address within a minute; forgets the oldest addresses."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def is_shut(self, host: str) -> bool:
        """Tell whether an address has failed too often."""
        with self._lock:
            return len(self._recent(host)) >= MOST_FAILURES

    def note(self, host: str) -> None:
        """Count one more failure."""
        with self._lock:
            self._failures[host] = [*self._recent(host), time.monotonic()][-MOST_FAILURES:]
            self._failures.move_to_end(host)
            while len(self._failures) > MOST_HOSTS:
                self._failures.popitem(last=False)

    def _recent(self, host: str) -> list[float]:
        since = time.monotonic() - FAILURE_WINDOW
        return [at for at in self._failures.get(host, ()) if at > since]


class _Attempt:
    def __init__(self, throttle: Throttle, request: Request) -> None:
        self._throttle = throttle
        self._host = request.client.host if request.client else ""
        if throttle.is_shut(self._host):
            raise TooManyAttempts

    def judge(self, person: Person | None) -> Person | None:
        if person is None:
            self._throttle.note(self._host)
        return person


def _checked(users: Mapping[str, tuple[str, Role]]) -> Mapping[str, tuple[str, Role]]:
    if not users or any(not name or ":" in name or not pair[0] for name, pair in users.items()):
        raise ConfigError("basic() takes {name: (password, role)}; neither may be empty")
    _check_roles(role for _, role in users.values())
    return users


def _check_roles(roles: Any) -> None:
    for role in roles:
        if role not in ROLES:
            msg = f"a role is one of {', '.join(ROLES)}, got {role!r:.40}"
            raise ConfigError(msg)


def _credentials(request: Request, scheme: str) -> str | None:
    given, _, rest = request.headers.get("authorization", "").partition(" ")
    return rest.strip() if given.lower() == scheme and rest.strip() else None


def _unpacked(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "replace")).digest()
