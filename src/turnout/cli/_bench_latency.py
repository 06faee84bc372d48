"""Measures how soon an idle worker process starts a job of another process, and what idling costs.

A sample is the time from the call of `enqueue` to the first line of the task, by the machine's wall
clock: it holds the durable commit, the way between the processes and the lease. One job at a time,
after a random pause of 5 to 30 ms, so that the worker is idle at each. `enqueue_p50_ms` is the part
of it that `enqueue` takes itself. Idle CPU is the worker process's own count over three idle
seconds.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import select
import signal
import struct
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from turnout.app import Turnout
from turnout.cli._bench_load import QUEUE, Load, Result, is_in_process, percentiles
from turnout.errors import ConfigError, TurnoutError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from turnout.task import Task

IDLE = 3.0  # seconds
_WARM_UP = 20
_PAUSES = (0.005, 0.030)
_PATIENCE = 30.0
_MARK = struct.Struct("<qdd")


class Mark(NamedTuple):
    """What a job wrote when it started: wall clock, and the CPU seconds of its process so far."""

    number: int
    at: float
    cpu: float


def latency(load: Load, idle: float = IDLE) -> Result:
    """Return percentiles from enqueue to start, and the percentage of a core while idle."""
    if is_in_process(load):
        msg = "latency is measured between two processes: a memory store has only one"
        raise ConfigError(msg)
    reader, writer = os.pipe()
    with _worker(load, writer), os.fdopen(reader, "rb", buffering=0) as marks:
        os.close(writer)
        jobs, task = _application(load, -1)
        caller = _Caller(task, marks, load.text)
        for number in range(_WARM_UP):
            caller.sample(number)
        caller.forget()
        began = time.monotonic()
        for number in range(load.jobs):
            caller.sample(number)
        seconds = time.monotonic() - began
        share = caller.idle_share(idle)
        jobs.close()
    return {
        "seconds": round(seconds, 4),
        **percentiles(caller.to_start),
        "enqueue_p50_ms": percentiles(caller.to_return)["p50_ms"],
        "idle_cpu_percent": round(share * 100, 3),
    }


class _Caller:
    """Enqueues, and hears when the job starts."""

    def __init__(self, task: Task[[int, str], None, None], marks: Any, text: str) -> None:
        self._task, self._marks, self._text = task, marks, text
        self.to_start: list[float] = []
        self.to_return: list[float] = []

    def forget(self) -> None:
        self.to_start.clear()
        self.to_return.clear()

    def sample(self, number: int) -> Mark:
        time.sleep(random.uniform(*_PAUSES))
        began = time.time()
        self._task.enqueue(number, self._text)
        self.to_return.append(time.time() - began)
        mark = self._hear(number)
        self.to_start.append(mark.at - began)
        return mark

    def _hear(self, number: int) -> Mark:
        if not select.select([self._marks], [], [], _PATIENCE)[0]:
            msg = f"the worker did not start job {number} within {_PATIENCE:.0f} s"
            raise TurnoutError(msg)
        told = self._marks.read(_MARK.size)
        if not told:
            msg = "the worker has ended; it said why on stderr"
            raise TurnoutError(msg)
        mark = Mark(*_MARK.unpack(told))
        if mark.number != number:
            msg = (
                f"expected job {number} to start, heard of {mark.number}: is another bench running?"
            )
            raise TurnoutError(msg)
        return mark

    def idle_share(self, seconds: float) -> float:
        before = self.sample(0)
        time.sleep(seconds)
        after = self.sample(1)
        return (after.cpu - before.cpu) / (after.at - before.at)


def _application(load: Load, writer: int) -> tuple[Turnout, Task[[int, str], None, None]]:
    jobs = Turnout(load.url, default_queue=QUEUE)

    @jobs.task(name="turnout.bench.mark")
    def mark(number: int, text: str) -> None:
        del text
        os.write(writer, _MARK.pack(number, time.time(), time.process_time()))

    return jobs, mark


@contextmanager
def _worker(load: Load, writer: int) -> Iterator[None]:
    child = multiprocessing.get_context("fork").Process(
        target=_be_worker, args=(load, writer), daemon=True
    )
    child.start()
    try:
        yield
    finally:
        if child.pid and child.is_alive():
            os.kill(child.pid, signal.SIGTERM)
        child.join(_PATIENCE)


def _be_worker(load: Load, writer: int) -> None:
    from turnout.worker.options import QueueSpec, WorkerOptions
    from turnout.worker.process import WorkerProcess

    jobs, _ = _application(load, writer)
    options = WorkerOptions(queues=(QueueSpec(QUEUE),), threads=load.threads)
    worker = WorkerProcess(jobs, options)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    worker.run()
