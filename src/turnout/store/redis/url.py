"""Reading a store URL: redis-py does it; this adds what must hold, and says what is wrong.

redis://[[user]:password@]host[:6379][/database]     rediss:// the same over TLS
unix://[[user]:password@]/path/to/socket[?db=0]
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from redis.connection import parse_url

from turnout.errors import ConfigError

_OURS = {
    "socket_timeout": 5.0,  # seconds: a script takes milliseconds, a cable that was pulled forever
    "socket_connect_timeout": 3.0,
    "socket_keepalive": True,
    "socket_read_size": 262_144,  # a lease of hundreds of jobs in one piece
}
_REFUSED = {"protocol", "decode_responses", "encoding", "encoding_errors"}


def read_url(url: str) -> dict[str, Any]:
    """Return what a connection of redis-py takes; raises ConfigError for a malformed URL."""
    options = dict(parse_qsl(urlsplit(url).query))
    ruled_out = sorted(_REFUSED & options.keys())
    if ruled_out:
        msg = f"the store URL sets {', '.join(ruled_out)}=, which Turnout decides: leave it out"
        raise ConfigError(msg)
    try:
        found = dict(parse_url(url))  # type: ignore[no-untyped-call]
        database = int(found.get("db", 0))
    except (ValueError, TypeError) as error:
        msg = f"the store URL cannot be read: {error}; write redis://user:password@host:6379/0"
        raise ConfigError(msg) from error
    if database < 0:
        msg = f"a database of Redis is a number from 0 up, got {database}"
        raise ConfigError(msg)
    return {**_OURS, **found}


def place(options: dict[str, Any]) -> str:
    """Return where a server is, without secrets."""
    where = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    return f"{where} database {options.get('db', 0)}"
