"""What every store refuses of a batch before it touches anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout.errors import EnqueueError
from turnout.store.protocol import MAX_BATCH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.job import NewJob


def check_batch(jobs: Sequence[NewJob]) -> None:
    """Raise EnqueueError for too many jobs at once, and for keys that would never become free."""
    if len(jobs) > MAX_BATCH:
        msg = f"one enqueue takes at most {MAX_BATCH} jobs, got {len(jobs)}: send them in chunks"
        raise EnqueueError(msg)
    for job in jobs:
        if job.unique is not None and job.unique.until == "time" and job.unique.ttl is None:
            msg = f'a unique key until "time" needs a ttl, got none for job {job.id}'
            raise EnqueueError(msg)
