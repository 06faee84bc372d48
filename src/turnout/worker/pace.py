"""When those come back whom a full limit refused: a line of reservations, one for each limit key.

    each refused job takes the next place in the line; places are `spacing` apart,
    spacing = mean hold / slots     for a concurrency limit: the time in which a slot becomes free
              seconds a start       for a rate
    times `stretch`, which grows while those who come back are refused again (other workers send
    theirs too, or jobs take longer now), and shrinks while they are granted

So a backlog of any size comes back at about the rate at which there is room, and what it costs the
store does not grow with it. Nobody is sent away for longer than this line has stood, nor for more
than `MOST` seconds: what was guessed wrong heals soon, and a short crowd is served soon.

Granted and refused balance at about one in three: fewer refusals would leave slots empty, as who
comes back meets a free one by chance.
"""

from __future__ import annotations

from random import Random

LEAST, MOST = 0.05, 60.0  # seconds for which a refused job goes away
_KNOWN_FULL = 0.05  # seconds for which a full key is not asked for again, at most
_SMOOTHING = 0.2
_GROWS, _SHRINKS = 1.03, 0.94
_STRETCH = (0.1, 16.0)
_FIRST = 0.5  # seconds for which a new line may send away
_FORGOTTEN = 120.0


class Line:
    """The line before one limit key, as this worker sees it. Times are the store's."""

    __slots__ = ("began", "full_until", "hold", "next_at", "seen_at", "slots", "stretch")

    def __init__(self) -> None:
        self.full_until = 0.0  # not worth asking before
        self.next_at = 0.0  # the last place that was given away
        self.hold = 0.0  # seconds that a slot is held, lately
        self.began = 0.0  # since when somebody has always been in the line
        self.slots = 1
        self.stretch = 1.0
        self.seen_at = 0.0

    def held(self, seconds: float) -> None:
        """Learn how long a slot was held; it is free now."""
        self.hold += (_SMOOTHING if self.hold else 1.0) * (seconds - self.hold)
        self.full_until = 0.0

    def granted(self) -> None:
        """Learn that there was room."""
        self.stretch = max(_STRETCH[0], self.stretch * _SHRINKS)

    def refused(self, now: float, until: float | None, *, per_start: float | None) -> None:
        """Learn that there was none; a rate knows when there will be, by `until`."""
        self.stretch = min(_STRETCH[1], self.stretch * _GROWS)
        if per_start is not None and until is not None:
            self.full_until = until
        else:
            self.full_until = now + min(_KNOWN_FULL, max(self.hold / self.slots, 0.002))

    def place(self, now: float, rng: Random, *, per_start: float | None, most: float) -> float:
        """Return when one more refused job is to come back; at most `most` seconds from now."""
        self.seen_at = now
        if now > self.next_at + _FIRST:
            self.began = now
        most = min(most, max(_FIRST, now - self.began))
        spacing = self.hold / self.slots if per_start is None else per_start
        self.next_at = max(self.next_at, now) + spacing * self.stretch
        if per_start is not None:
            self.next_at = max(self.next_at, self.full_until)
        delay = self.next_at - now
        if delay > most:
            self.next_at = now + most
            delay = most * rng.uniform(0.5, 1.0)
        return now + max(LEAST, delay) * rng.uniform(0.9, 1.1)

    def is_stale(self, now: float) -> bool:
        """Tell whether nobody has come here for a while."""
        return now > max(self.seen_at, self.next_at) + _FORGOTTEN
