"""The replays of a store: begun, read and stopped by anybody, driven by one worker at a time.

A replay is the value of a mark in one of `SLOTS` places. It is changed by compare-and-set, so that
what one process writes never undoes what another wrote; a new one takes a place that is free, or
that of the oldest which is over. Places are forgotten `KEPT` seconds after their last change.

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
from turnout.errors import ConfigError, StoreUnavailable
from turnout.lanes import is_lane
from turnout.limits.marks import Mark, Marked
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
_TRIES = 20


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
        if len(_text(replay)) > LONGEST:
            msg = "this query is too long for a replay: name fewer tasks, queues or ids"
            raise ConfigError(msg)
        for _ in range(_TRIES):
            place, seen = self._free()
            if self._write(place, seen, replay):
                return replay
        msg = "the replays of this store change too fast; nothing was begun, try again"
        raise StoreUnavailable(msg)

    def all(self) -> list[Replay]:
        """Return the replays under way and those kept, the newest first."""
        return sorted((one for _, _, one in self._kept()), key=lambda one: -one.begun_at)

    def stop(self, replay_id: str, *, by: str = "") -> Replay | None:
        """Stop a replay; what it sent stays in the queues. None: there is none of this id."""
        why, now = f"by {by}" if by else "by hand", self._clock()
        return self.update(replay_id, lambda replay: stop(replay, why, now))

    def update(self, replay_id: str, change: Callable[[Replay], Replay]) -> Replay | None:
        """Apply a change to what is there, again when somebody else wrote meanwhile."""
        for _ in range(_TRIES):
            found = [one for one in self._kept() if one[2].id == replay_id]
            if not found:
                return None
            place, seen, replay = found[0]
            changed = change(replay)
            if changed == replay or self._write(place, seen, changed):
                return changed
        msg = f"replay {replay_id} changes too fast; try again"
        raise StoreUnavailable(msg)

    def hold(self, owner: str) -> bool:
        """Try to be, or stay, the one who drives."""
        [answer] = self._store.mark([Mark(key=DRIVER, owner=owner, ttl=LEASE)])
        return answer.granted and not answer.away

    def let_go(self, owner: str) -> None:
        """Leave the driving to others."""
        self._store.unmark([(DRIVER, owner)])

    def _free(self) -> tuple[str, str | None]:
        places = self._places()
        over = [one for one in places if one[2] is None or one[2].is_over]
        if not over:
            msg = f"{SLOTS} replays are under way already: let one end, or stop it"
            raise ConfigError(msg)
        place, seen, _ = min(over, key=lambda one: one[2].begun_at if one[2] else 0.0)
        return place, seen

    def _kept(self) -> list[tuple[str, str | None, Replay]]:
        return [(name, text, one) for name, text, one in self._places() if one is not None]

    def _places(self) -> list[tuple[str, str | None, Replay | None]]:
        """Return each place, what it holds as text, and that as a replay."""
        names = [f"place {n}" for n in range(SLOTS)]
        asked = [Mark(key=KEY, owner=name, ttl=KEPT, most=0) for name in names]
        answers: list[Marked] = self._store.mark(asked)
        if any(one.away for one in answers):
            msg = "the store that keeps replays is away"
            raise StoreUnavailable(msg)
        return [
            (name, one.value, _replay(one.value)) for name, one in zip(names, answers, strict=True)
        ]

    def _write(self, place: str, seen: str | None, replay: Replay) -> bool:
        """Write over what was seen there; False when it is something else by now."""
        text = _text(replay)
        mark = Mark(key=KEY, owner=place, ttl=KEPT, most=SLOTS, value=text, expect=seen)
        return self._store.mark([mark])[0].granted


def _text(replay: Replay) -> str:
    return msgspec.json.encode(replay).decode()


def _replay(text: str | None) -> Replay | None:
    """Read a replay; one that a newer version wrote in another form is left alone."""
    try:
        return None if text is None else msgspec.json.decode(text, type=Replay)
    except msgspec.MsgspecError:
        return None
