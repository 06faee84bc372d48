"""Trips whose reply was lost: did they settle what they carried?

Their outcomes are sent again. What the store still holds under our lease it settles then. If it
holds nothing, either the first trip settled the job, or the store crashed and forgot a lease that
it had not written down yet: then somebody else was given the job, and our outcome is void. Who is
right is told by the job's record, which bears the times of the attempt that ended it.

That holds of what was leased under an epoch that lives on; under one that is over all is void.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from turnout.errors import StoreError
from turnout.job import JobFilter, State, Trail

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from turnout.job import Exchanged, JobId, JobRecord, Outcome
    from turnout.store.protocol import Store

    Lease = tuple[JobId, int]

log = logging.getLogger("turnout.worker")

_LOOK = 500  # records that one look asks for
_SAME = 1e-5  # seconds: stores keep times to the microsecond


def lease_of(outcome: Outcome) -> Lease:
    """Return what an outcome must be settled under."""
    return outcome.job.id, outcome.job.fence


class Unanswered:
    """What such trips to a store carried, of one epoch."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._epoch = ""
        self._leases: set[Lease] = set()

    def remember(self, epoch: str, outcomes: Sequence[Outcome]) -> None:
        """Note what a trip carried whose reply was lost."""
        if self._epoch != epoch:
            self._epoch, self._leases = epoch, set()
        self._leases |= set(map(lease_of, outcomes))

    def complete(self, epoch: str, outcomes: Sequence[Outcome], answer: Exchanged) -> Exchanged:
        """Return the answer to a later trip, in which all these outcomes rode once more, with the
        jobs added that were settled before.

        Where the store cannot be asked these are all that it refused: that is the rule.
        """
        leases, self._leases = self._leases, set()
        if not leases or answer.lost or epoch != self._epoch:
            return answer
        known = set(answer.settled)
        doubtful = [one for one in outcomes if one.job.id not in known and lease_of(one) in leases]
        return replace(answer, settled=[*answer.settled, *self._settled(doubtful)])

    def _settled(self, doubtful: Sequence[Outcome]) -> list[JobId]:
        try:
            records = {record.id: record for record in self._look(doubtful)}
        except StoreError as error:
            log.warning("whether %d jobs were settled cannot be seen: %s", len(doubtful), error)
            return [one.job.id for one in doubtful]
        return [one.job.id for one in doubtful if is_told_by(records.get(one.job.id), one)]

    def _look(self, outcomes: Sequence[Outcome]) -> Iterator[JobRecord]:
        for first in range(0, len(outcomes), _LOOK):
            ids = tuple(one.job.id for one in outcomes[first : first + _LOOK])
            yield from self._store.find(JobFilter(ids=ids), limit=len(ids))


def is_told_by(record: JobRecord | None, outcome: Outcome) -> bool:
    """Tell whether a record shows that this very outcome was settled.

    A job of which no record is kept is gone either way.
    """
    if outcome.state is State.SUCCEEDED:
        if record is None:
            return outcome.keep <= 0
        return record.state is State.SUCCEEDED and _is_same(record.finished_at, outcome.finished_at)
    if outcome.trail is None:  # it went back unrun, and nobody is told of that
        return True
    mine = msgspec.json.decode(outcome.trail, type=Trail).attempts[-1]
    told = () if record is None else record.attempts
    return any(
        one.worker == mine.worker and _is_same(one.finished_at, mine.finished_at) for one in told
    )


def _is_same(first: float | None, second: float) -> bool:
    return first is not None and abs(first - second) < _SAME
