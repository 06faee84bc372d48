"""The store's time, as a worker knows it: what its machine's clock says does not matter.

A retry is due, and a deadline over, by the store's clock. A worker reads it off its own epoch,
whose deadline the store sets at every heartbeat, and counts on from there by the machine's
monotonic clock, which nobody can put forward or back.

    machine's time (until the store has answered once) -> the store's time
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from turnout.app import Turnout
    from turnout.job import WorkerInfo

_STEADY = 0.05  # seconds: a smaller difference is no reason to move


class Beat(NamedTuple):
    """A heartbeat that was answered: under which epoch, sent and answered when, monotonic."""

    epoch: str
    asked: float
    answered: float


class StoreClock:
    """The clock of one worker process; takes the place of its application's."""

    def __init__(self, app: Turnout) -> None:
        self._app = app
        self._before = app.clock
        self._monotonic = time.monotonic
        self._offset = app.clock() - time.monotonic()
        self.beaten: Beat | None = None
        # An application that was given a clock of its own keeps it: a test moves it by hand.
        if app.clock is time.time:
            app.clock = self

    def __call__(self) -> float:
        """Return the store's time, in seconds since the epoch."""
        return self._monotonic() + self._offset

    def asks(self) -> float:
        """Note that a heartbeat is on its way, and return when it was sent, monotonic."""
        self.beaten = None
        return self._monotonic()

    def beat(self, epoch: str, asked: float) -> None:
        """Note that a heartbeat sent at `asked`, monotonic, was answered now."""
        self.beaten = Beat(epoch, asked, self._monotonic())

    def learn(self, worker: WorkerInfo, ttl: float, before: Beat | None) -> None:
        """Take over the store's time from what it holds of this worker, if that is what it is.

        It set the deadline between the question and the answer; more is not known. `before` is
        what `beaten` was before the store was asked: a heartbeat since then moves the deadline.
        """
        if before is None or before is not self.beaten or worker.epoch != before.epoch:
            return
        said = worker.deadline - ttl
        earliest, latest = said - before.answered, said - before.asked
        if not earliest - _STEADY <= self._offset <= latest + _STEADY:
            self._offset = (earliest + latest) / 2

    def release(self) -> None:
        """Give the application its own clock back."""
        if self._app.clock is self:
            self._app.clock = self._before
