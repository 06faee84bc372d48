"""A rolling window of how calls ended, in ten slices: (window, sample, now) -> window.

Invariant: what is older than the window's seconds (to within a slice) counts no more, and the
window never holds more than its slices.
"""

from __future__ import annotations

import msgspec

from turnout.limits.verdict import Sample

__all__ = ["Tally", "Window", "add", "total"]

SLICES = 10


class Tally(msgspec.Struct, frozen=True):
    """Numbers of calls: all, failed (timeouts and throttled ones too), timed out, slow."""

    calls: int = 0
    failed: int = 0
    timeouts: int = 0
    slow: int = 0
    bad: int = 0  # failed, slow or both

    def plus(self, other: Tally) -> Tally:
        """Return the sum."""
        return Tally(
            self.calls + other.calls,
            self.failed + other.failed,
            self.timeouts + other.timeouts,
            self.slow + other.slow,
            self.bad + other.bad,
        )


class Window(msgspec.Struct, frozen=True):
    """Tallies by slice number, oldest first."""

    slices: tuple[tuple[int, Tally], ...] = ()


EMPTY = Tally()


def add(window: Window, sample: Sample, now: float, length: float, slow_after: float) -> Window:
    """Return the window with one more call that ended at `now`; it is `length` seconds long."""
    number = _slice(now, length)
    failed, slow = not sample.is_good, sample.seconds > slow_after
    timed_out = sample.kind == "timeout"
    # Numbers, not truths: a state is shared as JSON, where these differ.
    one = Tally(1, int(failed), int(timed_out), int(slow), int(failed or slow))
    slices = window.slices
    if slices and slices[-1][0] >= number:
        last, tally = slices[-1]
        return Window((*slices[:-1], (last, tally.plus(one))))
    kept = tuple(entry for entry in slices if entry[0] > number - SLICES)
    return Window((*kept, (number, one)))


def total(window: Window, now: float, length: float) -> Tally:
    """Return the sum over the last `length` seconds."""
    oldest = _slice(now, length) - SLICES
    found = EMPTY
    for number, tally in window.slices:
        if number > oldest:
            found = found.plus(tally)
    return found


def _slice(now: float, length: float) -> int:
    return int(now // (length / SLICES))
