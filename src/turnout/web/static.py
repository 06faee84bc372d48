"""The stylesheet, the script and the icon: files of the package, cached by the hash of their text.

The invariant: only names in `FILES` are served; no path is ever joined from a request.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib import resources
from typing import TYPE_CHECKING

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.responses import Response

from turnout.web import guard

if TYPE_CHECKING:
    from starlette.requests import Request

FILES = {"turnout.css": "text/css", "turnout.js": "text/javascript", "icon.svg": "image/svg+xml"}


async def serve(request: Request) -> Response:
    """Answer with one of the files; with its hash in the address it may be kept for ever."""
    name = request.path_params["name"]
    if name not in FILES or request.method not in ("GET", "HEAD"):
        raise HTTPException(404)
    text, digest = _read(name)
    kept = "public, max-age=31536000, immutable"
    headers = {"cache-control": kept if request.query_params.get("v") == digest else "no-cache"}
    response = Response(text, media_type=FILES[name], headers=headers)
    return guard.protect(request, response, None)


def asset(root: str, name: str) -> str:
    """Return a file's address."""
    return f"{root}/static/{name}?v={_read(name)[1]}"


def mark() -> Markup:
    """Return the icon, to stand in a page."""
    return Markup(_read("icon.svg")[0].decode())  # noqa: S704 - our own file


@cache
def _read(name: str) -> tuple[bytes, str]:
    text = resources.files("turnout.web").joinpath("static", name).read_bytes()
    return text, sha256(text).hexdigest()[:12]
