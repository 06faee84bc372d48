"""Measures a drain: how fast real worker processes run what waits.

In the clock: from the moment the first process asks for its first lease until the last settle of
the last process is confirmed. That holds every lease, every run of a task, every settle, the trace,
the wake-ups of threads and all waiting for the file's lock. Not in it: starting interpreters,
importing, forking, opening the epoch before the first lease, and noticing at the end that nothing
is left.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from turnout.cli._bench_load import QUEUE, Load, Result, Start, for_each
from turnout.errors import TurnoutError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.job import Exchanged, Outcome, Want
    from turnout.store.protocol import Store


class Watch:
    """Sees each round trip of one process to its store."""

    def __init__(self, store: Store) -> None:
        self.first = self.last = 0.0
        self.settled = self.trips = 0
        self._exchange = store.exchange
        vars(store)["exchange"] = self.exchange

    def exchange(
        self, epoch: str, outcomes: Sequence[Outcome], want: Want | None, **when: Any
    ) -> Exchanged:
        """Do what the store does, and note when."""
        if not self.first:
            self.first = time.monotonic()
        answer = self._exchange(epoch, outcomes, want, **when)
        if answer.settled:
            self.last = time.monotonic()
            self.settled += len(answer.settled)
        self.trips += 1
        return answer


def drain(load: Load) -> Result:
    """Fill the queue, let the workers empty it, and return how long that took."""
    for_each(load, _fill, 1)
    parts = for_each(load, _work, load.processes)
    settled = sum(part["settled"] for part in parts)
    if settled != load.jobs:
        msg = f"{load.jobs:,} jobs were enqueued and {settled:,} settled: does another worker help?"
        raise TurnoutError(msg)
    busy = [part for part in parts if part["settled"]]
    seconds = max(part["last"] for part in busy) - min(part["first"] for part in busy)
    return {
        "seconds": round(seconds, 4),
        "jobs_per_s": round(load.jobs / seconds),
        "round_trips": sum(part["trips"] for part in parts),
        "jobs_each": sorted(part["settled"] for part in parts),
    }


def _fill(load: Load, _index: int, start: Start) -> Result:
    start()
    jobs, task = load.application()
    jobs.enqueue_many(task.prepare(load.text) for _ in range(load.jobs))
    return {}


def _work(load: Load, _index: int, start: Start) -> Result:
    from turnout.worker.options import QueueSpec, WorkerOptions
    from turnout.worker.process import WorkerProcess

    jobs, _ = load.application()
    watch = Watch(jobs.store)
    threads, slots = (2, load.threads) if load.is_async else (load.threads, 1)
    options = WorkerOptions(
        queues=(QueueSpec(QUEUE),),
        threads=threads,
        concurrency=slots,
        until_empty=True,
        metrics=load.metrics,
    )
    worker = WorkerProcess(jobs, options)
    start()
    if worker.run():
        msg = "a worker did not end in good order"
        raise TurnoutError(msg)
    jobs.close()
    return {
        "first": watch.first,
        "last": watch.last,
        "settled": watch.settled,
        "trips": watch.trips,
    }
