"""What a measurement works on: its application, its store, its processes, and the machine's notes.

The invariant: only the queue `QUEUE` is touched, and it is emptied before and after, so that a
store in use may be measured too.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turnout.app import Turnout
from turnout.errors import ConfigError, TurnoutError
from turnout.job import JobFilter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.synchronize import Barrier

    from turnout.task import Task

QUEUE = "turnout-bench"
_FRAME = len('{"text":""}')
_PATIENCE = 120.0  # seconds until all processes must be ready to start
Start = Callable[[], None]
Result = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One measurement: which store, how many jobs, and what works on them. `wait` in seconds."""

    url: str
    jobs: int
    processes: int = 1
    threads: int = 1
    payload: int = 200  # bytes of arguments as JSON
    keep_trace: bool = True
    metrics: bool = True
    wait: float = 0.0
    is_async: bool = False

    @property
    def text(self) -> str:
        """The one argument of each job."""
        return "x" * max(self.payload - _FRAME, 0)

    def application(self) -> tuple[Turnout, Task[[str], None, Any]]:
        """Return a new application on the store, and the task to measure."""
        settings: dict[str, Any] = {} if self.keep_trace else {"keep": 0}
        jobs = Turnout(self.url, default_queue=QUEUE, **settings)
        return jobs, jobs.task(name="turnout.bench.job")(self._function())

    def _function(self) -> Callable[[str], Any]:
        wait = self.wait

        def job(text: str) -> None:
            del text
            if wait:
                time.sleep(wait)

        async def ajob(text: str) -> None:
            del text
            if wait:
                await asyncio.sleep(wait)

        return ajob if self.is_async else job

    def share(self, index: int) -> int:
        """Return how many of the jobs are those of one process."""
        return self.jobs // self.processes + (index < self.jobs % self.processes)


@contextmanager
def measured_store(load: Load) -> Iterator[tuple[Load, Result]]:
    """Give the load a store that is there and holds none of our jobs; yield it and its description.

    Without a URL this is a temporary SQLite file, below $TMPDIR, removed in the end.
    """
    if load.url:
        with _emptied(load) as about:
            yield load, about
        return
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as folder:
        load = replace(load, url=f"sqlite:///{folder}/bench.db")
        with _emptied(load, is_temporary=True) as about:
            yield load, about


@contextmanager
def _emptied(load: Load, *, is_temporary: bool = False) -> Iterator[Result]:
    if is_in_process(load) and load.processes > 1:
        msg = "a memory store lives in one process: leave --processes out, or measure another --url"
        raise ConfigError(msg)
    jobs, _ = load.application()
    jobs.store.setup()
    info = jobs.store.describe()
    jobs.close()
    for_each(load, _empty, 1)
    try:
        yield {
            "store": info.name,
            "durability": f"an enqueue survives {info.enqueue_survives}, "
            f"a settle survives {info.settle_survives}",
            "location": info.location,
        }
    finally:
        if not is_temporary:
            for_each(load, _empty, 1)


def _empty(load: Load, _index: int, start: Start) -> Result:
    start()
    store = load.application()[0].store
    while store.change(JobFilter(queue=QUEUE), "delete"):
        continue
    return {}


# ---- processes that start together


def is_in_process(load: Load) -> bool:
    """Tell whether the store can be seen from this process alone."""
    return load.url.startswith("memory:")


def for_each(
    load: Load, work: Callable[[Load, int, Start], Result], processes: int
) -> list[Result]:
    """Call `work(load, index, start)` in forked processes and return what each returned.

    Each prepares itself and calls `start`, which returns in all of them at once. Raises
    TurnoutError when one fails. The caller must hold no connection and run no thread, which a fork
    would not carry over.
    """
    if is_in_process(load):
        return [work(load, 0, lambda: None)]
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(processes)
    children = []
    for index in range(processes):
        answers, answer = fork.Pipe(duplex=False)
        told = (load, work, index, barrier, answer)
        child = fork.Process(target=_be_child, args=told, daemon=True)
        child.start()
        answer.close()  # so that the end of the child is the end of its pipe
        children.append((child, answers))
    results = [_hear(answers) for _, answers in children]
    for child, _ in children:
        child.join()
    if faults := [result["fault"] for result in results if "fault" in result]:
        # Those that only waited for the failed one have less to say than that one.
        fault = min(faults, key=lambda told: told.startswith("BrokenBarrier"))
        msg = f"the measurement failed: {fault}"
        raise TurnoutError(msg)
    return results


def _hear(answers: Any) -> Result:
    with answers:
        try:
            result: Result = answers.recv()
        except EOFError:
            return {"fault": "a process ended without an answer"}
        return result


def _be_child(
    load: Load,
    work: Callable[[Load, int, Start], Result],
    index: int,
    barrier: Barrier,
    answer: Any,
) -> None:
    def start() -> None:
        barrier.wait(_PATIENCE)

    try:
        result = work(load, index, start)
    except BaseException as error:  # noqa: BLE001 - the parent tells of it
        barrier.abort()
        result = {"fault": f"{type(error).__name__}: {error}"}
    answer.send(result)


# ---- notes


def machine() -> Result:
    """Return what a reader needs to know of this machine, and how busy it was."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        cpu = next(x.partition(":")[2].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        pass  # not Linux on x86: the short name must do
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def percentiles(seconds: list[float]) -> Result:
    """Return p50, p95 and p99 in milliseconds."""
    ordered = sorted(seconds)
    last = len(ordered) - 1
    return {
        f"p{share}_ms": round(ordered[round(last * share / 100)] * 1000, 3)
        for share in (50, 95, 99)
    }
