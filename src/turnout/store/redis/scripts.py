"""The verbs as Lua: each file once, behind what they all share, under the name the server gives it.

A server forgets scripts at a restart, a failover or a SCRIPT FLUSH. So a script is called by its
hash, and sent whole when the server does not know that.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import NamedTuple


class Script(NamedTuple):
    """One verb: its whole text, and the hash that calls it."""

    name: str
    text: bytes
    sha: bytes


def _read(name: str) -> str:
    return resources.files("turnout.store.redis").joinpath(f"{name}.lua").read_text("utf-8")


def _slim(text: str) -> str:
    """Leave out comments and indentation: a server keeps the text for as long as it runs."""
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("--"))


_LIB = _slim(_read("lib"))


def load(name: str) -> Script:
    """Return the script of the file `name`.lua."""
    text = f"{_LIB}\n{_slim(_read(name))}\n".encode()
    return Script(name, text, hashlib.sha1(text).hexdigest().encode())  # noqa: S324


ENQUEUE = load("enqueue")
EXCHANGE = load("exchange")
HEARTBEAT = load("heartbeat")
SURRENDER = load("surrender")
MOVE = load("move")
SLEEP = load("sleep")
PUSH = load("push")
LOCATE = load("locate")
COUNT = load("count")
EMPTY = load("empty")
NOTE = load("note")
PAUSE = load("pause")
ORDER = load("order")
RETRACE = load("retrace")
SWEEP = load("sweep")
MARK = load("mark")
UNMARK = load("unmark")
MEASURE = load("measure")
