"""Says which jobs ran at one time and must not have. Pure, as the checker is.

* Two jobs of one unique key never run at one time, as far as their outcomes were confirmed.
* Of the runs under one key of a concurrency limit, never more than its number hold a slot.

A run holds its slot from its start until the first of these:

    it came to its end
    its process was killed
    its worker was kept from renewing what it holds, by a fault that touched that process or
        everybody, for `lasts` seconds of the run, and until `slack` seconds after the fault

Past the third the run may go on, and others have its slot: it lost it. One that starts as its
process moves again, after it stood still for that long, may have lost what it was granted before
that. A graceful stop costs nobody a slot, and a server's crash does not: a grant is not a settle,
and is not forgotten. Who holds one is known when all jobs were taken, and not before.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from turnout.testing.chaos.faults import GRACEFUL
from turnout.testing.chaos.stories import FINAL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from turnout.testing.chaos.faults import Faults
    from turnout.testing.chaos.stories import Run, Slot, Story

KEPT = 0.8  # of a lease: what is left of it at least when the last heartbeat was its best
_DEADLY = frozenset({"kill", "host", "poison"})
_STANDING = frozenset({"suspend", "starved"})  # no process moves that they touch
_NEVER = float("inf")
_LATE = 1.0  # seconds from what was noted to what a process makes of it


class Reach(msgspec.Struct, frozen=True):
    """How far faults reach. Times in seconds.

    `slack`: how long after its end a fault may still cost somebody his lease. `lasts`: how long a
    lease, and a slot, is kept at least while its worker cannot renew it. `forgets`: the kinds of
    fault after which the store may have lost outcomes of the last second, by its own documentation.
    """

    slack: float = 5.0
    lasts: float = 2.0
    forgets: Collection[str] = ()


class Limited(msgspec.Struct):
    """How the runs under limits went."""

    jobs: int = 0
    most_at_once: int = 0  # runs of one key that held their slots
    most_with_zombies: int = 0  # the same, and those that went on without
    slots_lost: int = 0  # runs that went on after their slot could be another's


class _Hold(NamedTuple):
    began: float
    until: float  # it held its slot
    ended: float  # the run itself was over
    pid: int
    name: str


class Overlap:
    """Learns of runs story by story, and says in the end which of them were too many."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._spans: defaultdict[str, list[tuple[float, float, str, str]]] = defaultdict(list)
        self._holds: defaultdict[Slot, list[_Hold]] = defaultdict(list)
        self.limited = Limited()

    def take(self, stories: Iterable[Story], faults: Faults) -> None:
        """Learn of some jobs; `faults` are all there were."""
        end_of_slot = _EndOfSlot(faults, self._reach)
        for story in stories:
            if story.key and (span := _valid_span(story)):
                self._spans[story.key].append((*span, story.job, story.name))
            self.limited.jobs += any(run.slots for run in story.runs)
            for run in story.runs:
                if run.slots:
                    self._hold(story, run, end_of_slot)

    def _hold(self, story: Story, run: Run, end_of_slot: _EndOfSlot) -> None:
        ended = end_of_slot.over(run)
        lost = end_of_slot.lost(run, ended)
        self.limited.slots_lost += lost < ended
        over = lost if ended == _NEVER else ended
        hold = _Hold(run.started, min(ended, lost), over, run.pid, story.name)
        for slot in run.slots:
            self._holds[slot].append(hold)

    def faults(self) -> list[str]:
        """Return what was wrong, once every job was taken."""
        found = [
            f"{other}: ran beside job {one} of the same unique key"
            for spans in self._spans.values()
            for (_, ended, one, _), (began, _, _, other) in pairwise(sorted(spans))
            if began < ended
        ]
        for slot, holds in self._holds.items():
            found += self._too_many(slot, sorted(holds))
        return found

    def _too_many(self, slot: Slot, holds: list[_Hold]) -> list[str]:
        limited, found = self.limited, []
        held: list[_Hold] = []
        running: list[float] = []
        for hold in holds:
            held = [one for one in (*held, hold) if one.until > hold.began]
            running = [ended for ended in running if ended > hold.began] + [hold.ended]
            limited.most_at_once = max(limited.most_at_once, len(held))
            limited.most_with_zombies = max(limited.most_with_zombies, len(running))
            if len(held) > slot.most and held[-1] is hold:
                others = ", ".join(f"{one.name} in {one.pid}" for one in held[:-1])
                found.append(
                    f"{hold.name}: began in {hold.pid} at {hold.began:.3f} as number {len(held)} "
                    f"under the limit {slot.key!r} of {slot.most}, beside {others}"
                )
        return found


class _EndOfSlot:
    """When a run was over, and when it may have lost its slot before, by the faults."""

    def __init__(self, faults: Faults, reach: Reach) -> None:
        self._faults = faults
        self._reach = reach
        self._deaths: defaultdict[int, list[float]] = defaultdict(list)
        for fault in faults:
            for pid in fault.pids if fault.kind in _DEADLY else ():
                self._deaths[pid].append(fault.began)

    def over(self, run: Run) -> float:
        """Return when it came to its end or its process was killed."""
        if run.ended is not None:
            return run.ended
        deaths = [at for at in self._deaths.get(run.pid, ()) if at + _LATE >= run.started]
        return max(run.started, deaths[0]) if deaths else _NEVER

    def lost(self, run: Run, ended: float) -> float:
        """Return when its slot may have become another's, if that was before its end."""
        lasts, slack = self._reach.lasts, self._reach.slack
        if self._stood_still(run):
            return run.started
        if ended - run.started <= lasts:
            return _NEVER
        for fault in self._faults.between(run.started - slack, ended - lasts):
            at = max(fault.began, run.started) + lasts
            hinders = fault.kind not in GRACEFUL | _DEADLY and fault.touches(run.pid)
            if hinders and at <= fault.ended + slack:
                return at
        return _NEVER

    def _stood_still(self, run: Run) -> bool:
        return any(
            fault.kind in _STANDING
            and fault.touches(run.pid)
            and fault.ended - fault.began >= self._reach.lasts
            for fault in self._faults.between(run.started - _LATE, run.started)
        )


def _valid_span(story: Story) -> tuple[float, float] | None:
    """Return from when to when the run lasted whose outcome was confirmed."""
    for settle in story.settles:
        for run in story.runs:
            same = (run.pid, run.attempt) == (settle.pid, settle.attempt)
            if same and run.ended is not None and settle.state in FINAL:
                return run.started, run.ended
    return None
