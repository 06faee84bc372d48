"""Reading a store URL: what is ours, and what goes to libpq."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from psycopg import Error
from psycopg.conninfo import conninfo_to_dict

from turnout.errors import ConfigError

_OURS = {"schema": "turnout", "settle": "async"}
_LONGEST = 48  # PostgreSQL cuts names at 63, and ours appear within others


def read_url(url: str) -> tuple[str, dict[str, str]]:
    """Return the connection string for libpq, and our own options.

    Raises ConfigError for a malformed URL and for values out of range.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    ours = {name: options.pop(name, default) for name, default in _OURS.items()}
    if ours["settle"] not in ("async", "durable"):
        msg = f"settle= is async or durable, got {ours['settle']!r}"
        raise ConfigError(msg)
    if not 1 <= len(ours["schema"]) <= _LONGEST or "\0" in ours["schema"]:
        msg = f"schema= is a name of 1 to {_LONGEST} characters, got {ours['schema']!r}"
        raise ConfigError(msg)
    plain = urlunsplit(
        parts._replace(scheme="postgresql", query=urlencode(options, quote_via=quote))
    )
    try:
        conninfo_to_dict(plain)
    except Error as error:
        msg = f"the store URL cannot be read: {error}; write postgresql://user@host:port/db"
        raise ConfigError(msg) from error
    return plain, ours


def place(conninfo: str) -> str:
    """Return where a server is, without secrets."""
    parts = urlsplit(conninfo)
    return f"{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"
