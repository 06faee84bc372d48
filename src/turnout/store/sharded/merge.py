"""Many shards' answers into one. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from msgspec.structs import replace

from turnout.job import JobRecord, State, StoreInfo, WorkerInfo
from turnout.store.sharded.session import base

_SURVIVES = ("nothing", "a killed process", "a power cut")


def merged_records(pages: Iterable[Sequence[JobRecord]], limit: int) -> list[JobRecord]:
    """Return the newest of several pages, each newest first, and each job once.

    A job known to two shards, whose enqueue had reached both, is shown where it got further.
    """
    records = heapq.merge(*pages, key=lambda record: record.id, reverse=True)
    return list(islice(_once(records), limit))


def _once(records: Iterable[JobRecord]) -> Iterator[JobRecord]:
    held: JobRecord | None = None
    for record in records:
        if held is None or record.id != held.id:
            if held is not None:
                yield held
            held = record
        elif _further(record) > _further(held):
            held = record
    if held is not None:
        yield held


def _further(record: JobRecord) -> int:
    return 2 if record.state.is_final else int(record.state is State.RUNNING)


def merged_workers(lists: Iterable[Iterable[WorkerInfo]]) -> list[WorkerInfo]:
    """Return every worker once, by name, as the shard knows it that heard of it last."""
    latest: dict[str, WorkerInfo] = {}
    for worker in (each for some in lists for each in some):
        epoch = base(worker.epoch)
        known = latest.get(epoch)
        if known is None or worker.deadline > known.deadline:
            latest[epoch] = replace(worker, epoch=epoch)
    return sorted(latest.values(), key=lambda worker: (worker.name, worker.epoch))


def weakest(infos: Sequence[StoreInfo]) -> tuple[str, str]:
    """Return what an enqueue and a settle survive on every shard."""
    enqueues = [info.enqueue_survives for info in infos]
    settles = [info.settle_survives for info in infos]
    return min(enqueues, key=_SURVIVES.index), min(settles, key=_SURVIVES.index)
