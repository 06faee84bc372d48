"""Serves the dashboard by itself: `turnout web`.

The invariant: without authentication it listens on the loopback alone; an address that others can
reach is refused before a socket is opened.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from turnout.errors import ConfigError
from turnout.web.app import dashboard
from turnout.web.auth import ROLES, Authorize, Person, any_of, basic, is_loopback, local_only, token

if TYPE_CHECKING:
    from turnout.app import Turnout
    from turnout.web.auth import Role

ENV_USERS = "TURNOUT_WEB_USERS"


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What `turnout web` was asked for; `users` is the path of a file."""

    host: str = "127.0.0.1"
    port: int = 8100
    users: str | None = None
    read_only: bool = False
    title: str = "Turnout"
    root_path: str = ""


def serve(jobs: Turnout, options: ServerOptions) -> None:
    """Serve until interrupted; raises ConfigError before listening where that would not be safe."""
    authorize = choose_authorize(options)
    app = dashboard(jobs, authorize=authorize, title=options.title, read_only=options.read_only)
    import uvicorn

    uvicorn.run(
        cast("Any", app),
        host=options.host,
        port=options.port,
        root_path=options.root_path,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )


def choose_authorize(options: ServerOptions) -> Authorize:
    """Return who may look; raises ConfigError for nobody in particular on an open address."""
    text = _users_text(options.users)
    if text is not None:
        return users(text)
    if is_loopback(options.host):
        return local_only
    msg = (
        f"{options.host} can be reached by others, and nobody would be asked who they are: give "
        f"--users FILE or set {ENV_USERS} (lines of name:role:password), or listen on 127.0.0.1"
    )
    raise ConfigError(msg)


def users(text: str) -> Authorize:
    """Return an `authorize` from lines of `name:role:password`; `#` begins a comment.

    The password serves as bearer token too, where it has 16 characters or more. Raises ConfigError
    with the number of a line that does not read so.
    """
    known: dict[str, tuple[str, Role]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        role, _, password = rest.partition(":")
        if not name or role not in ROLES or not password:
            msg = f"line {number} of the users: write name:role:password, role {', '.join(ROLES)}"
            raise ConfigError(msg)
        known[name] = (password, cast("Role", role))
    if not known:
        raise ConfigError("the list of users is empty: write lines of name:role:password")
    tokens: dict[str, Person | Role] = {
        password: Person(name, role)
        for name, (password, role) in known.items()
        if len(password) >= 16  # noqa: PLR2004 - what token() takes
    }
    return any_of(basic(known), token(tokens)) if tokens else basic(known)


def _users_text(path: str | None) -> str | None:
    if path is None:
        return os.environ.get(ENV_USERS) or None
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"the list of users cannot be read: {error}"
        raise ConfigError(msg) from error
