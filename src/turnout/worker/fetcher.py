"""Decides how much to lease, and makes the one round trip that settles and leases; an object, not a
thread: whichever thread finds work running out calls it.

How much: the free slots, plus a look-ahead that keeps them fed for `AHEAD` seconds:

    L = clamp(slots x AHEAD / mean job time, 0, MOST)

It starts at nothing and at most doubles from one lease to the next, so that a new or changed load
is met cautiously. With all slots busy nothing is leased. A slow task is therefore never prefetched,
and what was leased and not started within `PATIENCE` goes back to its old place.

When: at the latest when nothing waits here; while leases come back full, already when half of the
look-ahead is left, so that the store works on the next jobs while the last ones run here.

Several round trips never overlap: the lock in `exchange` makes outcomes that gather meanwhile ride
with the next one (group commit without a delay).
"""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING

from turnout.errors import StoreError, StoreUnavailable
from turnout.job import Exchanged, LeasedJob, Want
from turnout.lanes import base_of
from turnout.worker.lanes import Lanes
from turnout.worker.options import QueueSpec, serving_order
from turnout.worker.unanswered import Unanswered

if TYPE_CHECKING:
    from collections.abc import Callable

    from turnout.app import Turnout
    from turnout.job import QueueStats
    from turnout.worker.gate import Gate
    from turnout.worker.settler import Settler
    from turnout.worker.yielding import Yielding

log = logging.getLogger("turnout.worker")

AHEAD = 0.020
MOST = 1_000
LEASE = 500  # jobs that one lease brings at most
NO_ROOM = -1_000_000  # what a room says of a worker that takes nothing at all
PATIENCE = 0.250
_SMOOTHING = 0.1
_PAUSE_FIRST, _PAUSE_MOST = 0.05, 2.0  # a store that is back is noticed within two seconds


class Fetcher:
    """The way to the store and back, one round trip at a time."""

    def __init__(self, app: Turnout, settler: Settler, specs: tuple[QueueSpec, ...]) -> None:
        self._store = app.store
        self._settler = settler
        self._specs = specs or (QueueSpec("*"),)
        self._implied = frozenset(spec.name for spec in self._specs if spec.implied)
        self.serving = tuple(spec.name for spec in self._specs)
        self.named = tuple(spec.name for spec in self._specs if not spec.implied)
        self.lanes = Lanes(self.serving)
        self._rng = random.Random()
        self._lock = threading.Lock()
        self._unanswered = Unanswered(app.store)
        self._ahead = 0
        self._asked = 0
        self.refill_at = 0  # ask for more once fewer than these wait here
        self._failures = 0
        self.gate: Gate | None = None
        self.yielding: Yielding | None = None
        self.not_before = 0.0  # monotonic: the store failed, try again then
        self.mean = 0.0  # seconds a job takes, lately
        self.jobs = 0  # attempts that ended here
        self.limited = False  # the last lease left out a queue that had no room

    def exchange(
        self, epoch: str, room: Callable[[str | None], int], busy: Callable[[str], int]
    ) -> Exchanged:
        """Carry outcomes out and jobs in.

        `room(queue)` tells the slots that are free for a queue's jobs, `room(None)` for any;
        `busy(queue)` how many jobs of a queue are held here.

        A store that fails keeps nothing: the outcomes wait for the next try, which is put off with
        growing, jittered pauses.
        """
        with self._lock:
            outcomes = self._settler.take()
            if self.gate is not None and self.gate.holds:
                self.gate.ended(outcomes)
            outcomes = self._settler.ours(epoch, outcomes)
            want = self._want(room, busy)
            if not outcomes and want is None:
                return Exchanged([], [])
            try:
                answer = self._store.exchange(epoch, outcomes, want)
            except StoreError as error:
                self._settler.put_back(outcomes)
                if isinstance(error, StoreUnavailable):
                    self._unanswered.remember(epoch, outcomes)
                self._put_off(error)
                return Exchanged([], [])
            self._recovered()
            if want is not None:
                self.lanes.follow(answer, want, self._store.ready)
            if answer.away:
                outcomes = self._settler.put_off(outcomes, answer.away)
            answer = self._unanswered.complete(epoch, outcomes, answer)
        self._settler.confirm(outcomes, answer)
        return answer

    @property
    def is_travelling(self) -> bool:
        """True while a round trip is under way: what it carries is not settled yet."""
        return self._lock.locked()

    @property
    def is_failing(self) -> bool:
        """True while the last trip to the store failed."""
        return self._failures > 0

    def _want(self, room: Callable[[str | None], int], busy: Callable[[str], int]) -> Want | None:
        limit = min(self.wanted(room), LEASE)
        if limit <= 0:
            return None
        rooms: list[tuple[str, int]] = []
        self.limited = False
        for spec in serving_order(self._specs, self._rng):
            most = room(spec.name) + self._ahead
            if spec.limit is not None:
                most = min(most, spec.limit - busy(spec.name))
            if self.yielding is not None:
                most = int(min(most, self.yielding.room(spec.name)))
            if most > 0:
                rooms += self.lanes.share(spec.name, most, limit)
            else:
                self.limited = True
        self._asked = limit
        return Want(tuple(rooms), limit, self._implied)

    def serves(self, queue: QueueStats) -> bool:
        """Tell whether jobs are taken from a queue; from Ruby's only when somebody named it."""
        named = base_of(queue.queue) in self.named
        return named or ("*" in self.named and not queue.foreign)

    def wanted(self, room: Callable[[str | None], int]) -> int:
        """Return how many jobs the next lease could bring; none or less: it is not worth a trip."""
        free = room(None)
        return free + self._ahead if free > NO_ROOM else 0

    def took(self, seconds: float) -> None:
        """Learn how long one more job took."""
        self.jobs += 1
        self.mean += _SMOOTHING * (seconds - self.mean)

    def plan_ahead(self, leased: list[LeasedJob], slots: int) -> None:
        """Set the look-ahead of the next lease from this one."""
        useful = slots * AHEAD / max(self.mean, 1e-6)
        self._ahead = int(min(MOST, useful, 2 * max(self._ahead, len(leased) // 2, 1)))
        self.refill_at = self._ahead // 2 if len(leased) >= self._asked else 0

    def hoarded(self) -> None:
        """Jobs went back unstarted: look ahead no more, for now."""
        self._ahead = self.refill_at = 0

    def _put_off(self, error: StoreError) -> None:
        self._failures += 1
        pause = pause_after(self._failures, self._rng)
        self.not_before = time.monotonic() + pause
        log.error("the store failed (%s); trying again in %.1f s", error, pause)

    def _recovered(self) -> None:
        if self._failures:
            log.warning("the store is back after %d failures", self._failures)
            self._failures = 0
            self.not_before = 0.0


def pause_after(failures: int, rng: random.Random) -> float:
    """Return how long to leave the store alone after so many failures in a row, in seconds."""
    return min(_PAUSE_FIRST * 2.0 ** min(failures, 10), _PAUSE_MOST) * rng.uniform(0.5, 1.0)
