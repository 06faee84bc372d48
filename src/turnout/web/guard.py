"""What a request must show before it changes anything, and the headers of every answer.

Three locks on a POST, each of which alone stops a foreign page:

    Sec-Fetch-Site, or Origin     the browser itself says that the page is ours
    the token                     a cookie that scripts cannot read, repeated in the form
    SameSite=Strict               the cookie is not sent along from elsewhere

Programs have no browser to speak for them: they send `Turnout-Client: NAME`, a header that no
foreign page can add without asking first (and being refused), or a bearer token.
"""

from __future__ import annotations

import hmac
import re
import secrets
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

COOKIE, FIELD, CLIENT = "turnout_token", "token", "turnout-client"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not "no-referrer": with it, browsers send `Origin: null` along with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
}


def fault(request: Request, given: str) -> str | None:
    """Return why a changing request is refused, in words, or None when it may go on.

    `given` is the form's token.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None and site != "same-origin":
        return f"it was sent from another site (Sec-Fetch-Site: {site[:20]})"
    if site is None and origin is not None and not _is_ours(request, origin):
        return "it was sent from another origin"
    if CLIENT in request.headers or _is_bearer(request):
        return None
    cookie = request.cookies.get(COOKIE, "")
    if not _TOKEN.fullmatch(cookie):
        return "the token's cookie is missing: load the page again and repeat"
    if not hmac.compare_digest(cookie.encode(), given.encode("utf-8", "replace")):
        return "the form's token does not fit: load the page again and repeat"
    return None


def token_of(request: Request) -> str:
    """Return the browser's token, a new one when it has none."""
    cookie = request.cookies.get(COOKIE, "")
    return cookie if _TOKEN.fullmatch(cookie) else secrets.token_urlsafe(32)


def protect(request: Request, response: Response, token: str | None) -> Response:
    """Add the headers, and the token's cookie where it is new."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("cache-control", "no-store")
    if token is not None and request.cookies.get(COOKIE) != token:
        response.set_cookie(
            COOKIE,
            token,
            path=request.scope.get("root_path") or "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
    return response


def _is_ours(request: Request, origin: str) -> bool:
    # Hosts are compared, not schemes: behind a proxy that ends TLS ours looks like http.
    return urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower() != ""


def _is_bearer(request: Request) -> bool:
    return request.headers.get("authorization", "").lower().startswith("bearer ")
