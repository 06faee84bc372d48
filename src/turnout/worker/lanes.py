"""Whose turn it is: the lanes of the queues that a worker serves take turns.

Each lease gives the lanes whose turn it is equal parts of its room, and what one cannot use to the
others; then they go to the end of the line. Their queue itself is one lane more. A bounded number
of lanes has its turn at a time. So a lane of a million jobs takes all there is while it is alone,
and half as soon as another comes.

    unknown --the store counts jobs in it--> in line --leased empty--> unknown

Which lanes hold jobs is read from the store's counters: when leases bring nothing though somebody
rang, and while there is work every `EVERY` seconds, or more rarely where that is much to read: it
may take one part in `SHARE` of a processor. It is read after a lease, never before one: a job that
wakes an idle worker does not wait for it.

The invariant: a queue without lanes is asked for as if there were none anywhere.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import TYPE_CHECKING

from turnout.errors import StoreError
from turnout.lanes import base_of, is_lane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from turnout.job import Exchanged, LeasedJob, Want

WINDOW, MOST = 16, 64  # lanes that one lease asks for; more only while these do not fill it
EVERY, SELDOM = 0.05, 1.0  # seconds between two looks: with lanes, and while none is known
SHARE = 20.0


class Line:
    """The lanes of one queue that hold jobs, the next one first; all but `queue` are lanes."""

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.ready: dict[str, int] = {}
        self._turns: deque[str] = deque()

    def learn(self, ready: Mapping[str, int]) -> None:
        """Take the counters' word; who is new stands at the end."""
        self._turns = deque(one for one in self._turns if one in ready)
        self._turns.extend(one for one in ready if one not in self.ready)
        self.ready = dict(ready)

    def share(self, room: int) -> list[tuple[str, int]]:
        """Return what to ask for, in turn; what no lane can use is the queue's own."""
        turns = self._next(room)
        given = dict.fromkeys(turns, 0)
        waiting = turns
        while room > 0 and waiting:
            part = max(room // len(waiting), 1)
            for one in waiting[:room]:
                most = min(part, self.ready[one] - given[one])
                given[one] += most
                room -= most
            waiting = [one for one in waiting if given[one] < self.ready[one]]
        self._turns.extend(turns)
        if room > 0:
            given[self.queue] = given.get(self.queue, 0) + room
        return list(given.items())

    def _next(self, room: int) -> list[str]:
        turns: list[str] = []
        held = 0
        while self._turns and len(turns) < min(room, WINDOW if held >= room else MOST):
            turns.append(self._turns.popleft())
            held += self.ready[turns[-1]]
        return turns

    def took(self, lane: str, got: int, *, is_empty: bool) -> None:
        """Count what a lease brought; who was asked in vain for want of room is next in line."""
        left = self.ready.get(lane, 0) - got
        if lane not in self.ready:
            return
        if left <= 0 or is_empty:
            del self.ready[lane]
            self._turns.remove(lane)
            return
        self.ready[lane] = left
        if not got:
            self._turns.remove(lane)
            self._turns.appendleft(lane)


class Lanes:
    """The lines of a worker's queues; `served` are the names it leases by."""

    def __init__(self, served: Iterable[str]) -> None:
        self._served = frozenset(served)
        self._lines: dict[str, Line] = {}
        self._asked: dict[str, int] = {}
        self._look_at = 0.0
        self._empty = 0  # leases in a row that brought nothing

    # ---- looking

    def follow(self, answer: Exchanged, want: Want, ready: Callable[[], Mapping[str, int]]) -> None:
        """Count what a lease brought, and look whether others wait, if it is time to."""
        is_full = len(answer.leased) >= want.limit
        self._took(answer.leased, is_full=is_full)
        self._empty = 0 if answer.leased else self._empty + 1
        is_busy = is_full or not answer.leased or bool(self._lines)
        if self._empty > 1 or (is_busy and time.monotonic() >= self._look_at):
            self.look(ready)

    def look(self, ready: Callable[[], Mapping[str, int]]) -> None:
        """Learn which lanes hold jobs."""
        began = time.thread_time()  # not the clock's: it shows how long other threads ran meanwhile
        try:
            self._learn(ready())
        except StoreError:
            return  # the lease that follows meets it too, and knows what to do
        pause = max(EVERY if self._lines else SELDOM, SHARE * (time.thread_time() - began))
        self._look_at = time.monotonic() + pause

    def _learn(self, ready: Mapping[str, int]) -> None:
        groups: dict[str, dict[str, int]] = {}
        for queue, n in ready.items():
            if is_lane(queue) and (served := self._served_as(queue)) is not None:
                groups.setdefault(served, {})[queue] = n
        for queue, n in ready.items():
            served = self._served_as(queue)
            if served in groups and not is_lane(queue):  # under "*": of all these queues together
                groups[served][served] = groups[served].get(served, 0) + n
        lines = {name: self._lines.get(name) or Line(name) for name in groups}
        for name, line in lines.items():
            line.learn(groups[name])
        self._lines = lines

    def _served_as(self, queue: str) -> str | None:
        base = base_of(queue)
        return base if base in self._served else "*" if "*" in self._served else None

    # ---- leasing

    def share(self, queue: str, room: int, limit: int) -> list[tuple[str, int]]:
        """Return a queue's room in a lease of `limit`, shared out to the lanes whose turn it is."""
        line = self._lines.get(queue)
        if line is None:
            return [(queue, room)]
        rooms = line.share(min(room, limit))
        self._asked.update(rooms)
        return rooms

    def _took(self, leased: Iterable[LeasedJob], *, is_full: bool) -> None:
        asked, self._asked = self._asked, {}
        if not asked:
            return
        got = Counter(job.queue for job in leased)
        for lane, most in reversed(asked.items()):  # so that those left out keep their order
            line = self._lines.get(self._served_as(lane) or "")
            if line is not None and lane != line.queue:
                line.took(lane, got[lane], is_empty=got[lane] < most and not is_full)
