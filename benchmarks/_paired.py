"""One durable enqueue against one bare durable row, by turns on two files of one disk.

    python benchmarks/_paired.py 2000

A disk's speed drifts by half within a second here: only what is measured side by side compares.
Sixty of each at a time, medians of all.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bare import PAYLOAD, connect, job_id

from turnout import Turnout

SLICE = 60


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main(folder: Path, count: int) -> dict[str, float]:
    """Return milliseconds: the medians of `count` enqueues and of as many bare commits."""
    jobs = Turnout(f"sqlite:///{folder}/jobs.db")
    task = jobs.task(name="store")(_store)
    task.enqueue("x" * 188)
    bare = connect(folder / "bare.db", "FULL")
    bare.execute("CREATE TABLE job (id TEXT PRIMARY KEY, args TEXT) WITHOUT ROWID")
    rows = iter(range(count))

    def insert() -> None:
        bare.execute("INSERT INTO job VALUES (?, ?)", (job_id(next(rows)), PAYLOAD))

    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(count // SLICE):
        ours += [timed(lambda: task.enqueue("x" * 188)) for _ in range(SLICE)]
        theirs += [timed(insert) for _ in range(SLICE)]
    jobs.close()
    return {"single_ms": 1000 * median(ours), "bare_commit_ms": 1000 * median(theirs)}


def _store(text: str) -> None:
    del text


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="paired-") as where:
        print(json.dumps(main(Path(where), int(sys.argv[1]))))
