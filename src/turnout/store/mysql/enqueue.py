"""The verb `enqueue`: one call for a batch, the same on our connection and on the caller's."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from turnout.errors import EnqueueError
from turnout.job import JobId
from turnout.store.server.turn import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from turnout.job import NewJob

    Call = Callable[[dict[str, Any]], list[tuple[Any, ...]]]

_MOST_BYTES = 1_000_000  # of payload in one call: max_allowed_packet is 16 MB where it is small
_LONGEST_KEY = 700


class Recorded(NamedTuple):
    """The answer: an id for each job or None, and where to ring after the commit."""

    ids: list[JobId | None]
    bells: list[int]


def enqueue(call: Call, jobs: Sequence[NewJob], now: float | None, host: str) -> Recorded:
    """Record jobs by as few calls as the server's packets allow, all in one transaction."""
    first: dict[JobId, NewJob] = {}
    for job in jobs:  # one that is repeated counts where it came first
        first.setdefault(job.id, job)
        if job.unique is not None and len(job.unique.key) > _LONGEST_KEY:
            msg = f"a unique key has at most {_LONGEST_KEY} characters, got {len(job.unique.key)}"
            raise EnqueueError(msg)
    taken: set[JobId] = set()
    bells: set[int] = set()
    for part in _parts(first.values()):
        left = part
        while left:
            answer = call(_values(left, now, host))
            taken.update(JobId(text) for what, text in answer if what == "taken")
            bells.update(int(text) for what, text in answer if what == "bell")
            known = {text for what, text in answer if what == "known"}
            left = [job for job in left if job.id not in known] if known else []
    return Recorded([None if job.id in taken else job.id for job in jobs], sorted(bells))


def _parts(jobs: Iterable[NewJob]) -> Iterator[list[NewJob]]:
    part: list[NewJob] = []
    size = 0
    for job in jobs:
        bytes_ = len(job.args) + len(job.context or "")
        if part and size + bytes_ > _MOST_BYTES:
            yield part
            part, size = [], 0
        part.append(job)
        size += bytes_
    yield part


def _values(jobs: list[NewJob], now: float | None, host: str) -> dict[str, Any]:
    ids = [job.id for job in jobs]
    counts = None
    if all(job.run_at is None and job.unique is None for job in jobs):
        levels = Counter([(job.queue, -job.priority) for job in jobs])
        counts = encode([(*level, n) for level, n in levels.items()]).decode()
    return {
        "jobs": encode([_row(job) for job in jobs]).decode(),
        "first": min(ids),
        "last": max(ids),
        "counts": counts,
        "now": now,
        "host": host,
    }


def _row(job: NewJob) -> tuple[Any, ...]:
    row = (
        job.id,
        job.task,
        job.queue,
        job.args,
        job.priority,
        job.run_at,
        job.expires_at,
        job.context,
    )
    unique = job.unique
    return row if unique is None else (*row, unique.key, unique.until, unique.ttl)
