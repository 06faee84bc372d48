"""The simulated service: calls share its capacity, as threads share processors.

    up to `knee` calls at once      each at full speed
    n > knee                        each at knee/n of it: never more work done than the capacity

One clock of work runs at the speed of a single call; a call ends when that clock has gone as far as
it needs (`time`, spread). So a change of speed moves all ends at once and costs nothing.

Invariant: over any stretch of time, the work done is at most knee x the seconds.
"""

from __future__ import annotations

import heapq
import math
from itertools import count
from random import Random

from turnout.sim.scenario import Fault, Service

__all__ = ["Call", "Station"]


class Call:
    """One call: who made it, when, and how it will end if it is left to end."""

    __slots__ = ("ending", "in_service", "job", "started_at")

    def __init__(self, job: object, started_at: float) -> None:
        self.job = job
        self.started_at = started_at
        self.in_service = False
        self.ending = "ok"


class Station:
    """The service, with its calls under way."""

    def __init__(self, spec: Service, rng: Random) -> None:
        self._spec = spec
        self._rng = rng
        self._faults: list[Fault] = []
        self._ends: list[tuple[float, int, Call]] = []
        self._order = count()
        self._work = 0.0  # how far a call at the common speed has come
        self._at = 0.0
        self._active = 0
        self._tokens = spec.quota or 0.0
        self._tokens_at = 0.0
        self.done = 0.0  # seconds of service given

    @property
    def active(self) -> int:
        """Calls that it works on, abandoned ones too where it does not notice."""
        return self._active

    def begin(self, call: Call, now: float) -> str | None:
        """Take a call, or say at once how it is refused: refused, throttled."""
        self.advance(now)
        if any(fault.kind == "refuse" for fault in self._faults):
            return "refused"
        if self._spec.quota is not None and not self._has_token(now, self._spec.quota):
            return "throttled"
        failing = max([self._spec.failing, *(f.share for f in self._faults if f.kind == "errors")])
        call.ending = "failed" if self._rng.random() < failing else "ok"
        call.in_service = True
        self._active += 1
        heapq.heappush(self._ends, (self._work + self._need(), next(self._order), call))
        return None

    def abandon(self, call: Call, now: float) -> None:
        """Learn that the caller gave up; see `Service.abandoned`."""
        if self._spec.abandoned == "stop":
            self.advance(now)
            call.in_service = False
            self._active -= 1
            while self._ends and not self._ends[0][2].in_service:
                heapq.heappop(self._ends)

    def next_end(self) -> float:
        """Return when the next call ends, as things stand; infinity when none will."""
        speed = self._speed()
        if not self._ends or not speed:
            return math.inf
        return self._at + max(0.0, self._ends[0][0] - self._work) / speed

    def end_next(self, now: float) -> Call:
        """Take out the call that ends at `now`, the answer of `next_end`."""
        self.advance(now)
        call = heapq.heappop(self._ends)[2]
        call.in_service = False
        self._active -= 1
        while self._ends and not self._ends[0][2].in_service:
            heapq.heappop(self._ends)
        return call

    def turn(self, fault: Fault, now: float, *, begins: bool) -> list[Call]:
        """Begin or end a fault; return the calls that it cuts off."""
        self.advance(now)
        if not begins:
            self._faults.remove(fault)
            return []
        self._faults.append(fault)
        if fault.kind != "refuse":
            return []
        cut = [call for _, _, call in self._ends if call.in_service]
        for call in cut:
            call.in_service = False
        self._ends.clear()
        self._active = 0
        return cut

    def advance(self, now: float) -> None:
        """Let the time pass."""
        passed = (now - self._at) * self._speed()
        self._work += passed
        self.done += passed * self._active
        self._at = now

    def _speed(self) -> float:
        speed = 1.0 if self._active <= self._spec.knee else self._spec.knee / self._active
        for fault in self._faults:
            if fault.kind == "outage":
                return 0.0
            if fault.kind == "slow":
                speed /= fault.factor
        return speed

    def _need(self) -> float:
        spread = self._spec.spread
        if spread == 0:
            return self._spec.time
        shape = 1 / spread**2  # the gamma distribution with this mean and deviation; 1: exponential
        return self._rng.gammavariate(shape, self._spec.time / shape)

    def _has_token(self, now: float, quota: float) -> bool:
        most = max(1.0, quota)
        self._tokens = min(most, self._tokens + (now - self._tokens_at) * quota)
        self._tokens_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
