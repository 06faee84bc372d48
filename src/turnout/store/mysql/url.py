"""Reading a store URL: where the server is, and what is ours."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from turnout.errors import ConfigError

_FORM = "write mysql://user:password@host:3306/database"
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
_DRIVERS = {"unix_socket", "ssl_ca"}


def read_url(url: str) -> tuple[dict[str, Any], str]:
    """Return what the driver's `connect` takes, and the prefix of our tables.

    Raises ConfigError for a malformed URL and for values out of range.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    prefix = options.pop("prefix", "turnout_")
    if not _PREFIX.fullmatch(prefix):
        msg = f"prefix= is a letter, then at most 31 letters, digits and _, got {prefix!r}"
        raise ConfigError(msg)
    unknown = sorted(set(options) - _DRIVERS)
    if unknown:
        msg = (
            f"the store URL has options that are not known here: {', '.join(unknown)}; there are "
            "prefix=, unix_socket= and ssl_ca="
        )
        raise ConfigError(msg)
    try:
        port = parts.port or 3306
    except ValueError as error:
        msg = f"the store URL cannot be read: {error}; {_FORM}"
        raise ConfigError(msg) from error
    database = unquote(parts.path[1:])
    if not database or "/" in database or "\0" in url:
        msg = f"the store URL names no database; {_FORM}"
        raise ConfigError(msg)
    where: dict[str, Any] = {
        "host": parts.hostname or "localhost",
        "port": port,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": database,
    }
    if "unix_socket" in options:
        where["unix_socket"] = options["unix_socket"]
    if "ssl_ca" in options:
        where["ssl"] = {"ca": options["ssl_ca"]}
    return where, prefix
