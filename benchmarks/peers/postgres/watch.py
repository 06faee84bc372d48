"""What the Python peers share: the two phases of a program, and the clock, the same for all.

A peer's program is called twice, so that the worker is a fresh process: `PROGRAM fill URL JOBS`
makes the schema and enqueues, `PROGRAM work URL JOBS` runs ONE worker process, prints one line of
JSON and ends.

The clock runs from the first call of the task function to the moment when all jobs stand in the
database as done. The worker runs undisturbed until the task function was called for the last job;
from then on a connection of our own asks every 2 ms whether a job is left, and the clock ends when
the question was sent that was answered with no. So it may be late by one question and 2 ms, in all
some hundredths of a second. The first fetch is not in it, which favours the peers a little:
Turnout's own clock starts before its first lease, and ends when its last settle is confirmed.

The knobs that a peer's program turns are those of the peer's documentation, named there. Where that
leaves the value to the reader, it is the best of those tried on a machine with two cores.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = "x" * (200 - len('{"text":""}'))  # as `turnout bench`: 200 bytes of arguments as JSON


class Peer(NamedTuple):
    """One peer: its package, its two phases, and how to ask its tables."""

    package: str
    fill: Callable[[str, int], None]
    work: Callable[[str], None]
    any_left: str  # SQL: one boolean
    count_done: str  # SQL: one number; NULL when the peer deletes what is done
    concurrency: int
    settings: dict[str, Any]
    documentation: str


class Watch:
    """Counts the calls of the task function; every peer here calls it in one thread."""

    def __init__(self) -> None:
        self.first = 0.0
        self.calls = 0
        self.jobs = -1
        self.all_called = threading.Event()

    def called(self) -> None:
        """Note one call of the task function."""
        if not self.calls:
            self.first = time.monotonic()
        self.calls += 1
        if self.calls == self.jobs:
            self.all_called.set()

    def report(self, peer: Peer, url: str) -> None:
        """Wait until all is recorded, print the result, and end this process as it is."""
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                self.all_called.wait()
                while True:
                    asked = time.monotonic()
                    if not connection.execute(peer.any_left).fetchone()[0]:
                        break
                    time.sleep(0.002)
                done = connection.execute(peer.count_done).fetchone()[0]
            result = {
                "version": importlib.metadata.version(peer.package),
                "runtime": f"Python {platform.python_version()}",
                "concurrency": peer.concurrency,
                "seconds": round(asked - self.first, 4),
                "task_calls": self.calls,
                "recorded_done": done,
                "settings": peer.settings,
                "documentation": peer.documentation,
            }
            print(json.dumps(result), flush=True)
            os._exit(0)  # a graceful stop is not measured, and peers differ in how long it takes
        except BaseException as error:  # noqa: BLE001 - a dead watch must not leave the worker running
            print(f"the watch failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)


WATCH = Watch()


def main(peer: Peer) -> None:
    """Run the phase that the command line names."""
    phase, url, jobs = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if phase == "fill":
        peer.fill(url, jobs)
        return
    WATCH.jobs = jobs
    threading.Thread(target=WATCH.report, args=(peer, url), daemon=True).start()
    peer.work(url)


def chunks(jobs: int, size: int) -> list[int]:
    """Return the sizes of the bulk calls that enqueue so many jobs."""
    return [min(size, jobs - at) for at in range(0, jobs, size)]
