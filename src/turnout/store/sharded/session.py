"""One worker's epoch on every shard, and which shard each of its leases is from.

A worker has one epoch, and each shard knows it under a name of its own: `EPOCH` at first, `EPOCH~1`
when that shard alone took the worker for dead (it had been away for longer than the worker's time
to live, say), and so on. So one shard's doubt costs the worker only what it held there. The epoch
as a whole is lost when every shard says so.
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from turnout.job import JobId, LeasedJob, Outcome
from turnout.store.sharded.shards import Shard

_MARK = "~"
_LATER = 60.0  # seconds for which a lease that could not be told from another goes back


def base(epoch: str) -> str:
    """Return a worker's epoch from the name that a shard knows it under."""
    return epoch.partition(_MARK)[0]


class Session:
    """What this process knows of one epoch."""

    def __init__(self, epoch: str, shards: Iterable[Shard] = ()) -> None:
        self.epoch = epoch
        self.names: dict[Shard, str] = dict.fromkeys(shards, epoch)  # where it is open
        self.gone: set[JobId] = set()  # leases that a shard ended while the epoch lived on
        self._generation: Counter[Shard] = Counter()
        self._leases: dict[tuple[JobId, int], Shard] = {}
        self._turn = random.randrange(1_000)

    def name_at(self, shard: Shard) -> str:
        """Return the epoch's name at a shard, open there or about to be."""
        number = self._generation[shard]
        return f"{self.epoch}{_MARK}{number}" if number else self.epoch

    def lost_at(self, shard: Shard) -> None:
        """Note that a shard has ended the epoch: the next heartbeat opens another there."""
        self.names.pop(shard, None)
        self._generation[shard] += 1
        for key, owner in list(self._leases.items()):
            if owner is shard:
                del self._leases[key]
                self.gone.add(key[0])

    def in_turn(self, shards: Sequence[Shard]) -> list[Shard]:
        """Return the shards, beginning with another one each time."""
        self._turn += 1
        at = self._turn % max(len(shards), 1)
        return [*shards[at:], *shards[:at]]

    # ---- leases

    def took(
        self, shard: Shard, jobs: Sequence[LeasedJob]
    ) -> tuple[list[LeasedJob], list[Outcome]]:
        """Remember leases; return what is good, and the releases of what is not.

        One id with one fence at two shards (an enqueue had reached both) could not be told apart
        when it is settled: the second goes back until the first is done.
        """
        now = time.time()
        good: list[LeasedJob] = []
        back: list[Outcome] = []
        for job in jobs:
            if self._leases.setdefault((job.id, job.fence), shard) is shard:
                good.append(job)
            else:
                back.append(Outcome.released(job, now, run_at=now + _LATER))
        return good, back

    def shard_of(self, job: LeasedJob) -> Shard | None:
        """Return where a lease is from; None for one that is not ours."""
        return self._leases.get((job.id, job.fence))

    def by_shard(self, outcomes: Iterable[Outcome]) -> dict[Shard | None, list[Outcome]]:
        """Return outcomes by the shard of their leases."""
        sorted_out: dict[Shard | None, list[Outcome]] = defaultdict(list)
        for outcome in outcomes:
            sorted_out[self.shard_of(outcome.job)].append(outcome)
        return sorted_out

    def settled(self, outcomes: Iterable[Outcome]) -> None:
        """Forget leases that were answered for."""
        for outcome in outcomes:
            self._leases.pop((outcome.job.id, outcome.job.fence), None)

    def holds_from(self, shard: Shard) -> bool:
        """Tell whether any lease is from this shard."""
        return shard in self._leases.values()
