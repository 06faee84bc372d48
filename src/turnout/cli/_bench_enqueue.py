"""Measures enqueues: one by one, each durable before the next, or in bulk.

In the clock: from the first call in any process to the last return in any, checking and encoding of
the arguments included. Not in it: starting processes, opening connections, the first enqueue of
each.
"""

from __future__ import annotations

import time
from threading import Thread
from typing import TYPE_CHECKING, Any

from turnout.cli._bench_load import Load, Result, Start, for_each, percentiles

if TYPE_CHECKING:
    from turnout.task import Task


def enqueue_single(load: Load) -> Result:
    """Enqueue one job a call; return rate and percentiles of a call."""
    parts = for_each(load, _singly, load.processes)
    return {**_rate(load, parts), **percentiles([took for p in parts for took in p["took"]])}


def enqueue_bulk(load: Load) -> Result:
    """Enqueue through `enqueue_many`; return the rate."""
    return _rate(load, for_each(load, _in_bulk, load.processes))


def _rate(load: Load, parts: list[Result]) -> Result:
    seconds = max(part["end"] for part in parts) - min(part["begin"] for part in parts)
    return {"seconds": round(seconds, 4), "jobs_per_s": round(load.jobs / seconds)}


def _singly(load: Load, index: int, start: Start) -> Result:
    jobs, task = load.application()
    task.enqueue(load.text)
    counts = _split(load.share(index), load.threads)
    took: list[float] = []
    start()
    begin = time.monotonic()
    threads = [Thread(target=_calls, args=(task, load.text, n, took)) for n in counts[1:]]
    for thread in threads:
        thread.start()
    _calls(task, load.text, counts[0], took)
    for thread in threads:
        thread.join()
    end = time.monotonic()
    jobs.close()
    return {"begin": begin, "end": end, "took": took}


def _calls(task: Task[[str], None, Any], text: str, count: int, took: list[float]) -> None:
    for _ in range(count):
        began = time.perf_counter()
        task.enqueue(text)
        took.append(time.perf_counter() - began)


def _in_bulk(load: Load, index: int, start: Start) -> Result:
    jobs, task = load.application()
    task.enqueue(load.text)
    counts = _split(load.share(index), load.threads)
    start()
    begin = time.monotonic()
    threads = [
        Thread(target=lambda n=n: jobs.enqueue_many(task.prepare(load.text) for _ in range(n)))
        for n in counts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    end = time.monotonic()
    jobs.close()
    return {"begin": begin, "end": end}


def _split(total: int, parts: int) -> list[int]:
    return [total // parts + (index < total % parts) for index in range(parts)]
