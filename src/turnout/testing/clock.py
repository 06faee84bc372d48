"""`FakeClock`: time that stands still until a test moves it, and never moves back.

The invariant: while it is installed, the application and its store read the same clock.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from turnout.errors import ConfigError, as_seconds
from turnout.task import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from turnout.app import Turnout


class FakeClock:
    """A clock for tests. Calling it gives seconds since the epoch, `now()` a datetime in UTC."""

    def __init__(self, start: datetime | float | None = None) -> None:
        """Stand at `start`: an aware datetime or epoch seconds; without it, at real time."""
        if isinstance(start, datetime):
            start = timestamp(start, "start=")
        self._seconds = time.time() if start is None else float(start)

    def __repr__(self) -> str:
        return f"<FakeClock at {self.now().isoformat()}>"

    def __call__(self) -> float:
        """Return the seconds since the epoch."""
        return self._seconds

    def now(self) -> datetime:
        """Return the time as an aware datetime in UTC."""
        return datetime.fromtimestamp(self._seconds, tz=UTC)

    def advance(self, seconds: float | timedelta) -> None:
        """Move ahead by seconds or a timedelta. Raises ConfigError for less than nothing."""
        self._seconds += as_seconds(seconds, "advance()")

    def move_to(self, moment: datetime | float) -> None:
        """Move ahead to a moment; stay where it is when that has passed."""
        to = timestamp(moment, "move_to()") if isinstance(moment, datetime) else moment
        self._seconds = max(self._seconds, to)

    @contextmanager
    def installed(self, jobs: Turnout) -> Iterator[FakeClock]:
        """Be the clock of an application and of its store while the block lasts.

        Raises ConfigError for a store that goes by a server's clock: use `memory(jobs)` around it.
        """
        store: Any = jobs.store
        if not hasattr(store, "clock"):
            msg = f"{jobs.config.location} goes by its server's clock: test with memory(jobs) first"
            raise ConfigError(msg)
        before = jobs.clock, store.clock
        jobs.clock = store.clock = self
        try:
            yield self
        finally:
            jobs.clock, store.clock = before
