"""The hot path over shards: outcomes go to the shard of their lease, and jobs come in turn.

One exchange begins with another shard each time and asks the next only for what is still wanted, so
that each shard gets its share, and a busy worker makes one trip that leases and one to each further
shard that it has outcomes for. A shard that is away is passed over; what it was to settle is handed
back as `away`, to be sent again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

from turnout.errors import StoreError, StoreUnavailable
from turnout.job import Exchanged, JobId, LeasedJob, Outcome, Want
from turnout.store.protocol import Store
from turnout.store.sharded.session import Session
from turnout.store.sharded.shards import Shard


class Trip:
    """One exchange: what is wanted, and what has come of it so far."""

    def __init__(self, session: Session, want: Want | None, now: float | None) -> None:
        self._session = session
        self._want = want
        self._now = now
        self._givers: set[Shard] = set()
        self._settled: list[JobId] = []
        self._leased: list[LeasedJob] = []
        self._away: set[JobId] = set()
        self._asked: list[Shard] = []
        self._lost: list[Shard] = []
        self._errors: list[StoreError] = []

    def make(self, shards: Sequence[Shard], outcomes: Sequence[Outcome]) -> Exchanged:
        """Visit the shards, and those that are none any more but have leases out."""
        session = self._session
        parts = session.by_shard(outcomes) if outcomes else {}
        strays = parts.pop(None, [])  # whose they are, only the shards can tell
        former = [shard for shard in parts if shard is not None and shard not in shards]
        for shard in [*session.in_turn(shards), *former]:
            self._visit(shard, parts.get(shard, []) + strays, shards)
        if self._lost or (not outcomes and self._want is None):
            self._look_elsewhere(shards)
        return self._answer(shards)

    def _visit(self, shard: Shard, outcomes: list[Outcome], shards: Sequence[Shard]) -> None:
        name = self._session.names.get(shard)
        want = self._rest() if shard in shards else None
        if name is None or not (outcomes or want):
            return
        if shard.health.is_resting and len(shards) > 1:
            self._put_off(shard, outcomes)
            return
        try:
            answer = shard.call(lambda store: store.exchange(name, outcomes, want, now=self._now))
        except StoreError as error:
            self._errors.append(error)
            self._put_off(shard, outcomes)
            return
        self._asked.append(shard)
        if answer.lost:
            self._lost.append(shard)
            return
        self._settled += answer.settled
        self._session.settled(one for one in outcomes if self._session.shard_of(one.job) is shard)
        if answer.leased:
            self._take(shard, name, answer.leased)

    def _put_off(self, shard: Shard, outcomes: list[Outcome]) -> None:
        held = (one for one in outcomes if self._session.shard_of(one.job) is shard)
        self._away.update(one.job.id for one in held)

    def _take(self, shard: Shard, name: str, jobs: list[LeasedJob]) -> None:
        good, back = self._session.took(shard, jobs)
        self._givers.add(shard)
        self._leased += good
        if back:
            shard.call(lambda store: store.exchange(name, back, None, now=self._now))

    def _rest(self) -> Want | None:
        """Return what is still wanted, with the room that each queue has left."""
        want = self._want
        if want is None or not self._leased:
            return want
        if len(self._leased) >= want.limit:
            return None
        taken = Counter(job.queue for job in self._leased)
        named = {name for name, _ in want.queues}
        rooms: list[tuple[str, int]] = []
        for name, room in want.queues:
            if name == "*":  # every queue has this room for itself
                rooms += ((one, max(room - n, 0)) for one, n in taken.items() if one not in named)
                rooms.append((name, room))
            else:
                rooms.append((name, max(room - taken[name], 0)))
        return Want(tuple(rooms), want.limit - len(self._leased))

    def _look_elsewhere(self, shards: Sequence[Shard]) -> None:
        """Ask those that were not visited whether the epoch is over there too."""
        for shard in shards:
            name = self._session.names.get(shard)
            if shard in self._asked or name is None:
                continue
            try:
                answer = shard.call(partial(_look_in, name))
            except StoreError as error:
                self._errors.append(error)
                continue
            self._asked.append(shard)
            if answer.lost:
                self._lost.append(shard)

    def _answer(self, shards: Sequence[Shard]) -> Exchanged:
        session = self._session
        for shard in self._lost:
            session.lost_at(shard)
        if self._errors and not self._asked and all(one.health.is_away for one in shards):
            raise StoreUnavailable("; ".join(dict.fromkeys(map(str, self._errors))))
        if self._lost and not session.names:
            return Exchanged([], [], lost=True)
        away = frozenset(self._away.difference(self._settled))
        return Exchanged(self._settled, self._in_order(), away=away)

    def _in_order(self) -> list[LeasedJob]:
        """Return what several shards gave in the order in which one would have given it."""
        if self._want is None or len(self._givers) <= 1:
            return self._leased
        places = {name: n for n, (name, _) in enumerate(self._want.queues)}
        star = places.get("*", 0)

        def place(job: LeasedJob) -> tuple[int, str, int, float, str]:
            at = places.get(job.queue, star)
            return at, job.queue, -job.priority, job.run_at, job.id

        return sorted(self._leased, key=place)


def _look_in(epoch: str, store: Store) -> Exchanged:
    return store.exchange(epoch, [], None)
