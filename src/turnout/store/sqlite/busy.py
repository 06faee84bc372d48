"""What to do while somebody else holds the file's lock.

It is our own. SQLite's handler sleeps on a growing table up to 100 ms, which starves whoever is
unlucky: a worst wait of 1.6 s was measured where short random sleeps had 0.12 s.
"""

from __future__ import annotations

import random
import sqlite3
import time
from typing import TYPE_CHECKING, TypeVar

from turnout.errors import StoreBusy
from turnout.store import patience as bound

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PATIENCE = 30.0  # seconds to wait for the write lock
BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_SLEEP_FIRST, _SLEEP_MOST = 0.0002, 0.005


def retried(work: Callable[[], T], seconds: float = PATIENCE) -> T:
    """Call `work` until the file is not busy, with short random sleeps between.

    Raises StoreBusy after so many seconds.
    """
    patience = left(seconds)
    ceiling, deadline = _SLEEP_FIRST, time.monotonic() + patience
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if (getattr(error, "sqlite_errorcode", 0) & 0xFF) not in BUSY:
                raise
            if time.monotonic() > deadline:
                raise locked(patience) from error
        time.sleep(random.uniform(ceiling / 4, ceiling))
        ceiling = min(ceiling * 2, _SLEEP_MOST)


def left(seconds: float = PATIENCE) -> float:
    """Return how long to wait: so many seconds, or what is left to whoever asks."""
    remaining = bound.left()
    return seconds if remaining is None else max(min(seconds, remaining), 0.0)


def locked(seconds: float) -> StoreBusy:
    """Return the error that says how long the file stayed locked."""
    return StoreBusy(
        f"the database stayed locked for {seconds:.0f} s: some program holds a write "
        "transaction open; find it (fuser FILE) and let it commit"
    )
