"""Who answers and who is away: one small circuit breaker a shard.

    answering -- a call failed, or took longer than SLOW --> away
        ^                                                     |
        +---- the watch asked, and it answered in time -------+

A shard that is away is not called, so that it costs nobody anything. The watch asks it at once and
then with growing pauses (0.1 to 5 s, jittered).

One that is merely slow is left alone by exchanges for REST times as long as its call took, so that
it gets a quarter of a worker's trips at most and the others go on.

Beside that, a shard may answer and take no jobs, with its memory full: then leasing and settling go
on, and the next enqueue that belongs there tries again after `full_until`.
"""

from __future__ import annotations

import random
import time

SLOW = 2.0  # seconds for one call
TIRING = 0.5  # seconds for one call, after which a shard rests
_REST = 3.0
_FIRST, _MOST = 0.1, 5.0


class Health:
    """What is known of one shard. Times are monotonic, but for `since`, which people read."""

    def __init__(self) -> None:
        self.trouble: str | None = None  # why it is away
        self.since = 0.0
        self.ask_at = 0.0
        self.back_at = float("-inf")
        self._rests_until = 0.0
        self.full: str | None = None  # why it takes no jobs
        self.full_until = 0.0
        self.is_suspect = False  # an enqueue failed: the watch is to look what else works
        self._failures = 0
        self._refusals = 0

    @property
    def is_away(self) -> bool:
        """True while it is not to be called."""
        return self.trouble is not None

    @property
    def is_to_ask(self) -> bool:
        """True while the watch has to look whether it answers."""
        return self.trouble is not None or self.is_suspect

    @property
    def takes_jobs(self) -> bool:
        """True while an enqueue may try it."""
        return self.trouble is None and time.monotonic() >= self.full_until

    @property
    def is_resting(self) -> bool:
        """True while exchanges with other shards come first."""
        return time.monotonic() < self._rests_until

    def tired(self, took: float) -> None:
        """Note a call that took so many seconds, more than TIRING."""
        self._rests_until = time.monotonic() + _REST * took

    def failed(self, trouble: object) -> None:
        """Note a call that failed: it is away, and asked at once, or later after a relapse."""
        now = time.monotonic()
        if self.trouble is None:
            self.since = time.time()
            if now - self.back_at > _MOST:
                self._failures = 0
        self.trouble = str(trouble)
        self.is_suspect = False
        self.ask_at = now + (_pause(self._failures) if self._failures else 0.0)
        self._failures += 1

    def answered(self) -> None:
        """Note that it answers, in time."""
        if self.trouble is not None:
            self.back_at = time.monotonic()
        self.trouble = None
        self.is_suspect = False

    def refused(self, trouble: object) -> None:
        """Note an enqueue that failed, whatever else the shard can do."""
        self.is_suspect = self.trouble is None
        self.ask_at = time.monotonic() if self.is_suspect else self.ask_at
        self._refusals += 1
        self.full = str(trouble)
        self.full_until = time.monotonic() + _pause(self._refusals)

    def took(self) -> None:
        """Note an enqueue that went well."""
        self.full, self.full_until, self._refusals = None, 0.0, 0


def _pause(failures: int) -> float:
    longest: float = min(_FIRST * 2 ** min(failures, 10), _MOST)
    return longest * random.uniform(0.5, 1.0)
