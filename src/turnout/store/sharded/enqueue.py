"""Jobs in: which shard each goes to, and where else when that one is away.

A job with a unique key goes to the shard of its key, or nowhere: the key is held there. Any other
goes to the shard of its id, or, by depth, to the one with less waiting of the two that its id ranks
first; while that one is away, to the next in the ranking of its id. So a repeated enqueue comes to
the same shard, where its id is known, unless the shards or their health changed in between.

What goes to one shard is recorded whole or not at all. Jobs with keys go first: when their shard is
away, nothing has been recorded yet.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from turnout.errors import StoreUnavailable
from turnout.job import JobFilter, JobId, NewJob, State
from turnout.store.sharded.placement import owner, ranked
from turnout.store.sharded.shards import Shard, View

_GRACE = 60.0  # seconds after which a job asked about, and left behind by a crash, runs there


class Placement:
    """One enqueue: the jobs, and what came of each so far."""

    def __init__(self, view: View, jobs: Sequence[NewJob], now: float | None) -> None:
        self._view = view
        self._jobs = jobs
        self._now = now
        self._failed: dict[str, str] = {}
        self.answers: list[JobId | None] = [None] * len(jobs)

    def place(self) -> list[JobId | None]:
        """Record all of them; return their ids, None where the unique key is taken."""
        keyed = [n for n, job in enumerate(self._jobs) if job.unique is not None]
        self._place_keyed(keyed)
        self._place_plain([n for n, job in enumerate(self._jobs) if job.unique is None])
        return self.answers

    # ---- with a key

    def _place_keyed(self, keyed: list[int]) -> None:
        groups: dict[tuple[str, str], list[int]] = defaultdict(list)
        for n in keyed:
            groups[self._homes(n)].append(n)
        for home, former in groups:
            for name in (home, former):
                if self._view.by_name[name].health.is_away:
                    raise _key_away(self._view.by_name[name])
        for (home, former), group in groups.items():
            left = group if home == former else self._not_held(self._view.by_name[former], group)
            self._record_keyed(self._view.by_name[home], left)

    def _homes(self, n: int) -> tuple[str, str]:
        """Return where a job's key belongs, and where it belonged before shards came or went."""
        unique = self._jobs[n].unique
        assert unique is not None, "only those with a key come here"  # noqa: S101
        return owner(self._view.open, unique.key), owner(self._view.former, unique.key)

    def _record_keyed(self, shard: Shard, group: list[int]) -> None:
        if not group:
            return
        try:
            self._record(shard, group)
        except StoreUnavailable as error:
            raise _key_away(shard) from error

    def _not_held(self, former: Shard, group: list[int]) -> list[int]:
        """Return those jobs whose keys nobody holds at their former shard.

        The shard itself is asked, by recording them there, to run later than this takes, and
        deleting them. One that cannot be deleted was there before and is running or over: it is
        known.
        """
        later = (time.time() if self._now is None else self._now) + _GRACE
        asked = [
            replace(self._jobs[n], run_at=max(self._jobs[n].run_at or 0.0, later)) for n in group
        ]
        try:
            free = [job_id for job_id in former.enqueue(asked, self._now) if job_id is not None]
            queued = JobFilter(ids=tuple(free), states=(State.QUEUED,))
            known = JobFilter(ids=tuple(free))
            if free:
                former.call(lambda store: store.change(queued, "delete", now=self._now))
                there = former.call(lambda store: store.find(known, limit=len(free), now=self._now))
                self._keep(group, {record.id for record in there})
        except StoreUnavailable as error:
            raise _key_away(former) from error
        gone = set(free).difference(job_id for job_id in self.answers if job_id is not None)
        return [n for n in group if self._jobs[n].id in gone]

    def _keep(self, group: Iterable[int], known: set[JobId]) -> None:
        for n in group:
            if self._jobs[n].id in known:
                self.answers[n] = self._jobs[n].id

    # ---- without

    def _place_plain(self, left: list[int]) -> None:
        """Record jobs without a key; what one shard does not take is offered to the next."""
        while left:
            groups: dict[str, list[int]] = defaultdict(list)
            for n in left:
                groups[self._choice(self._jobs[n])].append(n)
            left = []
            for name, group in groups.items():
                try:
                    self._record(self._view.by_name[name], group)
                except StoreUnavailable as error:
                    self._failed[name] = str(error)
                    left += group

    def _choice(self, job: NewJob) -> str:
        """Return the shard for a job; raises StoreUnavailable when none takes any."""
        takers = [name for name in self._view.open if self._takes(name)]
        if not takers:
            raise _nowhere(self._view)
        if self._view.by == "id" or len(takers) == 1:
            return owner(takers, job.id)
        first, second = ranked(takers, job.id)[:2]
        shards = self._view.by_name
        return second if shards[second].ready[job.queue] < shards[first].ready[job.queue] else first

    def _takes(self, name: str) -> bool:
        return name not in self._failed and self._view.by_name[name].health.takes_jobs

    def _record(self, shard: Shard, group: list[int]) -> None:
        recorded = shard.enqueue([self._jobs[n] for n in group], self._now)
        for n, job_id in zip(group, recorded, strict=True):
            self.answers[n] = job_id


def _key_away(shard: Shard) -> StoreUnavailable:
    trouble = shard.health.trouble or shard.health.full
    msg = (
        f"shard {shard.name} holds the unique key of a job and is away, so whether the key is "
        f"taken cannot be told: {trouble}; enqueue it again later (jobs without a key go to other "
        "shards meanwhile)"
    )
    return StoreUnavailable(msg)


def _nowhere(view: View) -> StoreUnavailable:
    said = (
        f"{name}: {view.by_name[name].health.trouble or view.by_name[name].health.full}"
        for name in view.open
    )
    return StoreUnavailable(f"no shard takes jobs at the moment: {'; '.join(said)}")
