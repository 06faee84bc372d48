"""Reads a URL of the SQLite store: which file, and how durable its commits are."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from turnout.errors import ConfigError

SURVIVES = {"full": "a power cut", "normal": "a killed process"}


def read_url(url: str) -> tuple[Path, dict[str, str]]:
    """Return the file, and the modes of enqueues and of leases and settles; raise ConfigError."""
    parts = urlsplit(url)
    path = unquote(parts.path)[1:]
    if parts.netloc or not path or "\0" in path:
        msg = f"{url!r} names no file: write sqlite:///jobs.db, or sqlite:////var/lib/jobs.db"
        raise ConfigError(msg)
    if path == ":memory:":
        msg = f"{url!r}: jobs in memory are at memory: here, of one process and for tests"
        raise ConfigError(msg)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    modes = {
        "synchronous": options.pop("synchronous", "full").lower(),
        "worker": options.pop("worker_synchronous", "normal").lower(),
    }
    wrong = [*options, *(mode for mode in modes.values() if mode not in SURVIVES)]
    if wrong:
        msg = (
            f"{url!r}: {', '.join(wrong)} is not known here; the options are synchronous= and "
            "worker_synchronous=, each full or normal"
        )
        raise ConfigError(msg)
    return Path(path).absolute(), modes
