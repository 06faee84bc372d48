"""The audit log as the dashboard writes and shows it.

The invariant: an action that was done is not undone, nor hidden, because its line could not be
kept. What the store did not take stays here, in a short list that ends with the process.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

from turnout import auditlog
from turnout.auditlog import MOST, Entry
from turnout.errors import StoreError

if TYPE_CHECKING:
    from turnout.store.protocol import Store

__all__ = ["MOST", "Entry", "Ledger"]

_log = logging.getLogger("turnout.web")


class Ledger:
    """The actions of all who look at one store, newest first."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._unkept: deque[Entry] = deque(maxlen=MOST)

    def write(self, entry: Entry) -> None:
        """Log an action, and keep it."""
        try:
            auditlog.write(self._store, entry)
        except StoreError as error:
            _log.warning("audit: the store did not keep a line of it: %s", error)
            with self._lock:
                self._unkept.appendleft(auditlog.cut(entry))

    def entries(self, now: float) -> list[Entry]:
        """Return the newest actions. Raises StoreError."""
        with self._lock:
            here = list(self._unkept)
        found = sorted([*here, *auditlog.kept(self._store, now)], key=lambda one: -one.at)
        return found[:MOST]
