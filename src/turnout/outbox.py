"""`outbox=`: jobs for a store without transactions, recorded in the caller's own SQL transaction.

The outbox is a store of ours in the application's database. An enqueue within a transaction is
recorded there, wrapped as a job of the reserved queue `turnout.outbox`; a relay leases what has
committed and enqueues it where it belongs, under the id it was given. Each step may be repeated: a
relay that dies between the two is followed by one that enqueues a known id, which is no double.
"""

from __future__ import annotations

from typing import Any

import msgspec

from turnout.errors import EnqueueError
from turnout.job import LeasedJob, NewJob

__all__ = ["QUEUE", "unwrapped", "wrapped"]

QUEUE = "turnout.outbox"

_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(NewJob).decode


def wrapped(jobs: list[NewJob]) -> list[NewJob]:
    """Return jobs as the outbox keeps them: due at once, whatever they say themselves."""
    return [
        NewJob(id=job.id, task=job.task, queue=QUEUE, args=_encode(job).decode()) for job in jobs
    ]


def unwrapped(job: LeasedJob) -> NewJob:
    """Return what an outbox's job holds; raises EnqueueError when it is no job of an outbox."""
    try:
        new: Any = _decode(job.args)
    except msgspec.DecodeError as error:
        msg = f"job {job.id} in the queue {QUEUE} was not put there by an outbox: {error}"
        raise EnqueueError(msg) from error
    return new  # type: ignore[no-any-return]
