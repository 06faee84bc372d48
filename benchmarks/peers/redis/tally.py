"""What the Python peers on Redis share: the two phases of a program, and one clock for all.

`PROGRAM fill URL JOBS` enqueues in the peer's bulk way (one by one where it has none) and prints
how long that took. `PROGRAM work URL JOBS SECONDS` runs ONE worker process, whose clock runs from
the first to the last call of the task function, prints one line of JSON and ends. When the seconds
are over it prints what it got done.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import os
import platform
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = "x" * (200 - len('{"text":""}'))  # as `turnout bench`: 200 bytes of arguments as JSON
URL = sys.argv[2]


class Peer(NamedTuple):
    """One peer: its package, its two phases and how it is set up."""

    package: str
    fill: Callable[[int], None]
    work: Callable[[], None]
    settings: dict[str, Any]


class Tally:
    """Counts the calls of the task function, in any thread of one process."""

    def __init__(self) -> None:
        self.first = self.last = 0.0
        self.jobs = -1
        self.done = threading.Event()
        self._next = itertools.count(1).__next__  # atomic in CPython
        self.calls = 0

    def called(self) -> None:
        """Note one call of the task function."""
        self.last = time.monotonic()
        self.calls = number = self._next()
        if number == 1:
            self.first = self.last
        if number == self.jobs:
            self.done.set()

    def report(self, peer: Peer, seconds: float) -> None:
        """Wait for the last call or for the end of the time, print, and end this process."""
        self.done.wait(seconds)
        calls = self.jobs if self.done.is_set() else self.calls
        result = {
            "version": importlib.metadata.version(peer.package),
            "runtime": f"Python {platform.python_version()}",
            "seconds": round(max(self.last - self.first, 1e-6), 4),
            "task_calls": calls,
            "settings": peer.settings,
        }
        print(json.dumps(result), flush=True)
        os._exit(0)  # a graceful stop is not measured, and peers differ in how long it takes


TALLY = Tally()


def main(peer: Peer) -> None:
    """Run the phase that the command line names."""
    phase, jobs = sys.argv[1], int(sys.argv[3])
    if phase == "fill":
        began = time.monotonic()
        peer.fill(jobs)
        print(json.dumps({"enqueue_seconds": round(time.monotonic() - began, 4)}))
        return
    TALLY.jobs = jobs
    seconds = float(sys.argv[4])
    threading.Thread(target=TALLY.report, args=(peer, seconds), daemon=True).start()
    peer.work()
