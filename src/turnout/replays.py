"""The replays of a store: begun, read and stopped by anybody, driven by one worker at a time.

A replay is a document (documents.py) in one of `SLOTS` places. A new one takes a free place, or the
one of the oldest that is over. Places are forgotten `KEPT` seconds after their last change.

    who drives  holds the mark `DRIVER` for `LEASE` seconds at a time
    its step    reads, sends at most `BATCH` jobs, and writes what it did on top of what is there

The invariant: a replay that was stopped sends nothing more than the step that was under way. A
driver that dies in a step leaves it to be done again: jobs in their queues by then are passed over.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from turnout import finding, search
from turnout.documents import Documents, Place, text_of
from turnout.errors import ConfigError
from turnout.lanes import is_lane
from turnout.limits.marks import Mark
from turnout.queues import with_lanes
from turnout.replay import REPLAYED, Plan, Replay, begin, stop
from turnout.search import Query, Shown, as_it_is

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.job import QueueStats
    from turnout.store.protocol import Store

__all__ = ["DRIVER", "KEY", "LEASE", "Count", "Moment", "Plan", "Replay", "Replays"]

KEY, DRIVER = "turnout replays", "turnout replay driver"
SLOTS = 12
KEPT = 14 * 86_400.0
LEASE = 15.0
LONGEST = 3_500  # characters of a replay before it began
MOST_COUNTED = 10_000
COUNTING = 1.0  # seconds

_PLACES = tuple(f"place {n}" for n in range(SLOTS))
_REPLAYS = Documents("replays of this store", Replay, key=KEY, places=_PLACES, kept=KEPT)


class Count(msgspec.Struct, frozen=True):
    """How many jobs a replay would send; `more`: counting ended before the jobs did."""

    jobs: int
    more: bool


class Moment(msgspec.Struct, frozen=True):
    """What a search has to know of the store."""

    at: float
    queues: Sequence[QueueStats]
    lanes: Sequence[QueueStats]


class Replays:
    """The replays in a store. `tasks` are names that a prefix in a query may stand for."""

    def __init__(
        self, store: Store, clock: Callable[[], float] = time.time, tasks: Iterable[str] = ()
    ) -> None:
        self._store = store
        self._clock = clock
        self._tasks = tasks

    def read(self, query: str | Query) -> Query:
        """Return a query as a replay takes it: dead jobs, where it names no state.

        Raises ConfigError for what is not understood, and for jobs that cannot be replayed.
        """
        if isinstance(query, str):
            moment = self.moment()
            queues = [one.queue for one in moment.queues]
            query = search.parse(query, moment.at, self._tasks, queues)
        if not query.states and not query.views:
            query = msgspec.structs.replace(query, states=REPLAYED[:1])
        others = [str(one) for one in query.states if one not in REPLAYED] + list(query.views)
        faults = list(query.faults)
        if others:
            faults.append(f"{', '.join(others)} jobs cannot be replayed; dead ones can, "
                          "discarded and cancelled")  # fmt: skip
        if faults:
            raise ConfigError("; ".join(faults))
        return query

    def count(self, query: str | Query, shown: Shown = as_it_is) -> Count:
        """Count what a replay would send: at most MOST_COUNTED jobs, for about a second."""
        query, moment = self.read(query), self.moment()
        deadline, jobs, after = time.monotonic() + COUNTING, 0, None
        while jobs < MOST_COUNTED and time.monotonic() < deadline:
            found = finding.find(self._store, query, moment, limit=1_000, after=after, shown=shown)
            jobs, after = jobs + len(found.jobs), found.next
            if after is None:
                return Count(jobs, more=False)
        return Count(jobs, more=True)

    def moment(self) -> Moment:
        """Return what a search has to know."""
        stats = self._store.count()
        lanes = [one for one in stats if is_lane(one.queue)]
        return Moment(self._clock(), with_lanes(stats) if lanes else stats, lanes)

    def start(self, query: str | Query = "", plan: Plan | None = None, *, by: str = "") -> Replay:
        """Begin a replay of the jobs that `query` means, and return it; workers carry it out.

        Raises ConfigError for a query or plan that makes no sense, and where SLOTS replays are
        under way; StoreError.
        """
        plan = plan or Plan()
        plan.check()
        query, now = self.read(query), self._clock()
        count = self.count(query)
        replay = begin(
            Replay(id=secrets.token_hex(4), query=query, plan=plan, by=by[:100], begun_at=now,
                   expected=count.jobs, expected_more=count.more), now,
        )  # fmt: skip
        if len(text_of(replay)) > LONGEST:
            msg = "this query is too long for a replay: name fewer tasks, queues or ids"
            raise ConfigError(msg)
        _REPLAYS.change(self._store, lambda places: (_free(places), replay))
        return replay

    def all(self) -> list[Replay]:
        """Return the replays under way and those kept, the newest first."""
        kept = [one.value for one in _REPLAYS.read(self._store) if one.value is not None]
        return sorted(kept, key=lambda one: -one.begun_at)

    def stop(self, replay_id: str, *, by: str = "") -> Replay | None:
        """Stop a replay; what it sent stays in the queues. None: there is none of this id."""
        why, now = f"by {by}" if by else "by hand", self._clock()
        return self.update(replay_id, lambda replay: stop(replay, why, now))

    def update(self, replay_id: str, change: Callable[[Replay], Replay]) -> Replay | None:
        """Apply a change to what is there, again when somebody else wrote meanwhile."""

        def step(places: list[Place[Replay]]) -> tuple[Place[Replay], Replay] | None:
            kept = ((one, one.value) for one in places if one.value is not None)
            found = [(place, change(one)) for place, one in kept if one.id == replay_id]
            return found[0] if found else None

        return _REPLAYS.change(self._store, step)

    def hold(self, owner: str) -> bool:
        """Try to be, or stay, the one who drives."""
        [answer] = self._store.mark([Mark(key=DRIVER, owner=owner, ttl=LEASE)])
        return answer.granted and not answer.away

    def let_go(self, owner: str) -> None:
        """Leave the driving to others."""
        self._store.unmark([(DRIVER, owner)])


def _free(places: list[Place[Replay]]) -> Place[Replay]:
    over = [one for one in places if one.value is None or one.value.is_over]
    if not over:
        msg = f"{SLOTS} replays are under way already: let one end, or stop it"
        raise ConfigError(msg)
    return min(over, key=lambda one: one.value.begun_at if one.value else 0.0)
