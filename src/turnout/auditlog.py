"""The audit log: who did what to the jobs, by the dashboard or on the command line.

Each action is a line by logging's `turnout.audit`, and an entry in the store, where the newest
`MOST` stay for `KEPT` seconds. Whoever must keep all of it configures the logger. The invariant:
what a person did is logged before they are told that it is done.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from turnout.rings import Ring

if TYPE_CHECKING:
    from turnout.store.protocol import Store

__all__ = ["KEPT", "MOST", "Entry", "kept", "write"]

MOST = 500
KEPT = 92 * 86_400.0
_EACH = 12  # so that a full document fits into a mark whatever its entries say
_LONGEST = {"who": 60, "role": 20, "action": 40, "subject": 160, "address": 50}  # characters
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


_RING = Ring("the audit log", list[Entry], key="turnout audit", each=_EACH, most=MOST, kept=KEPT)


def write(store: Store, entry: Entry) -> None:
    """Log an action, whole, and keep it in the store, cut. Raises StoreError, but has logged it."""
    fields = msgspec.to_builtins(entry)
    line = "%s (%s, %s) %s %s: %d"
    shown = (entry.who, entry.role, entry.address or "-", entry.action, entry.subject)
    _log.info(line, *map(_one_line, shown), entry.count, extra={"turnout": fields})
    _RING.add(store, cut(entry))


def kept(store: Store, now: float) -> list[Entry]:
    """Return what the store keeps, the newest first. Raises StoreError."""
    return _RING.newest(store, now)


def cut(entry: Entry) -> Entry:
    """Return an entry as it is kept: no text is longer than its place, nor more than one line."""
    texts = {name: _shortened(getattr(entry, name), most) for name, most in _LONGEST.items()}
    return msgspec.structs.replace(entry, **texts)


def _shortened(text: str, most: int) -> str:
    text = "".join(one if one.isprintable() else " " for one in text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _one_line(text: str) -> str:
    """Return text that cannot begin a line of its own in a log file."""
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in text)[:500]
