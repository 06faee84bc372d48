"""Settles of the last second, brought back from the texts in which they travelled.

A server that crashes may forget them, and then they are sent again; see recent.py. Keeping the
outcomes themselves for a second takes a fast worker a sixth more CPU time: 60,000 of them fill
the processor's caches, and every new one then goes where memory is slow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from turnout.job import JobId, LeasedJob, Outcome, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_Entry = tuple[str, str, int, int, float, float, int, float, float]
_entries = msgspec.json.Decoder(list[_Entry]).decode


def successes(
    fences: Mapping[str, int], traces: Iterable[tuple[str, float, str | bytes]]
) -> Iterator[Outcome]:
    """Return plain successes from their traces: queue, how long it is kept, entries as JSON.

    They are without the arguments, because settling needs none.
    """
    for queue, keep, body in traces:
        for entry in _entries(body):
            yield _outcome(entry, queue, keep, fences[entry[0]])


def _outcome(entry: _Entry, queue: str, keep: float, fence: int) -> Outcome:
    job_id, task, attempt, crashes, enqueued_at, run_at, priority, started_at, finished_at = entry
    job = LeasedJob(
        JobId(job_id),
        task,
        queue,
        "{}",
        priority,
        attempt - 1,
        crashes,
        enqueued_at,
        run_at,
        None,  # it was plain: no deadline that matters any more, no history, no key
        None,
        None,
        None,
        fence,
    )
    return Outcome(
        job=job,
        state=State.SUCCEEDED,
        started_at=started_at,
        finished_at=finished_at,
        attempt=attempt,
        keep=keep,
    )
