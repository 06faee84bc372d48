"""Reading a store URL: redis-py does it; this adds what must hold, and says what is wrong.

redis://[[user]:password@]host[:6379][/database]     rediss:// the same over TLS
unix://[[user]:password@]/path/to/socket[?db=0]
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from redis.connection import Connection, parse_url

from turnout.errors import ConfigError

_OURS: dict[str, Any] = {
    "socket_timeout": 5.0,  # seconds: a script takes milliseconds, a cable that was pulled forever
    "socket_connect_timeout": 3.0,
    "socket_keepalive": True,
    "socket_read_size": 262_144,  # a lease of hundreds of jobs in one piece
}
_REFUSED = {"protocol", "decode_responses", "encoding", "encoding_errors"}


def read_url(url: str) -> dict[str, Any]:
    """Return what a connection of redis-py takes; raises ConfigError for a malformed URL."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    ruled_out = sorted(_REFUSED & options.keys())
    if ruled_out:
        msg = f"the store URL sets {', '.join(ruled_out)}=, which Turnout decides: leave it out"
        raise ConfigError(msg)
    try:
        if parts.scheme != "unix" and parts.path.strip("/"):
            int(parts.path.strip("/"))  # redis-py takes what is no number for database 0
        found = dict(parse_url(url))  # type: ignore[no-untyped-call]
        database = int(found.get("db", 0))
    except (ValueError, TypeError) as error:
        msg = f"the store URL cannot be read: {error}; write redis://user:password@host:6379/0"
        raise ConfigError(msg) from error
    if database < 0:
        msg = f"a database of Redis is a number from 0 up, got {database}"
        raise ConfigError(msg)
    options = {**_OURS, **found}
    if "path" in found:
        del options["socket_keepalive"]  # a socket of this machine needs none
    _try_out(options)
    return options


def _try_out(options: dict[str, Any]) -> None:
    """Make a connection object, which opens nothing, so that a wrong option is found now."""
    rest = dict(options)
    try:
        rest.pop("connection_class", Connection)(**rest)
    except (TypeError, ValueError) as error:
        msg = f"the store URL has an option that redis-py does not take: {error}"
        raise ConfigError(msg) from error


def place(options: dict[str, Any]) -> str:
    """Return where a server is, without secrets."""
    where = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    return f"{where} database {options.get('db', 0)}"
