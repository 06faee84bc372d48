"""Settles of the last second, kept as they travelled: one text a batch.

A server that crashes may forget them, and then they are sent again; see recent.py. Keeping the
outcomes themselves for a second takes a fast worker a sixth more CPU time: 60,000 of them fill
the processor's caches, and every new one then goes where memory is slow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from turnout.job import JobId, LeasedJob, Outcome, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_unpack = msgspec.msgpack.decode
_Entry = tuple[str, str, int, int, float, float, int, float, float]
_entries = msgspec.json.Decoder(list[_Entry]).decode


class Sent:
    """A message as the script got it, and beside it those outcomes of which it holds no trace.

    Iterating brings the outcomes back, of plain successes without the arguments: settling needs
    none.
    """

    __slots__ = ("_message", "_others")

    def __init__(self, message: bytes, others: Sequence[Outcome]) -> None:
        self._message = message
        self._others = others

    def __iter__(self) -> Iterator[Outcome]:
        yield from self._others
        if not self._message:
            return
        leases, traces, *_ = _unpack(self._message)
        fences = {job_id: int(fence) for fence, ids in leases for job_id in ids}
        for queue, _until, _count, _first, _last, body, keep in traces:
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
