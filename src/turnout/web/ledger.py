"""The audit log: one line by logging's `turnout.audit` for each action, and the last ones to show.

The invariant: what a person did is written before they are told that it is done. The list in
memory is short and ends with the process; whoever must keep it configures the logger.
"""

from __future__ import annotations

import logging
import threading
from collections import deque

import msgspec

KEPT = 500
_log = logging.getLogger("turnout.audit")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One action of one person; `count` is how many jobs or queues changed."""

    at: float
    who: str
    role: str
    action: str
    subject: str
    count: int = 1
    address: str = ""


class Ledger:
    """The actions of this process, newest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque(maxlen=KEPT)

    def write(self, entry: Entry) -> None:
        """Log an action and remember it."""
        fields = msgspec.to_builtins(entry)
        line = "%s (%s, %s) %s %s: %d"
        shown = (entry.who, entry.role, entry.address or "-", entry.action, entry.subject)
        _log.info(line, *map(_one_line, shown), entry.count, extra={"turnout": fields})
        with self._lock:
            self._entries.appendleft(entry)

    def entries(self) -> list[Entry]:
        """Return what is remembered, newest first."""
        with self._lock:
            return list(self._entries)


def _one_line(text: str) -> str:
    """Return text that cannot begin a line of its own in a log file."""
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in text)[:500]
