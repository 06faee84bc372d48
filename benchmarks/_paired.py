"""One durable enqueue against one bare durable row, by turns on one disk, or one server.

    python benchmarks/_paired.py 2000
    python benchmarks/_paired.py 2000 postgresql://postgres@127.0.0.1/bench

On SQLite the bare row goes to a file of its own, on PostgreSQL to a table of its own by way of the
same driver, prepared and committed by itself.

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


def sqlite_row(folder: Path) -> Callable[[str], object]:
    bare = connect(folder / "bare.db", "FULL")
    bare.execute("CREATE TABLE job (id TEXT PRIMARY KEY, args TEXT) WITHOUT ROWID")
    return lambda key: bare.execute("INSERT INTO job VALUES (?, ?)", (key, PAYLOAD))


def postgresql_row(url: str) -> Callable[[str], object]:
    import psycopg

    bare = psycopg.connect(url.partition("?")[0], autocommit=True)  # the options are ours
    bare.prepare_threshold = 0
    bare.execute("DROP TABLE IF EXISTS bare_job")
    bare.execute("CREATE TABLE bare_job (id uuid PRIMARY KEY, args text)")
    return lambda key: bare.execute("INSERT INTO bare_job VALUES (%s, %s)", (key, PAYLOAD))


def main(count: int, url: str, row: Callable[[str], object]) -> dict[str, float]:
    """Return milliseconds: the medians of `count` enqueues and of as many bare commits."""
    jobs = Turnout(url)
    task = jobs.task(name="store")(_store)
    task.enqueue("x" * 188)
    rows = iter(range(count))

    def insert() -> None:
        row(job_id(next(rows)))

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
        folder, url = Path(where), sys.argv[2] if sys.argv[2:] else None
        insert = sqlite_row(folder) if url is None else postgresql_row(url)
        print(json.dumps(main(int(sys.argv[1]), url or f"sqlite:///{folder}/jobs.db", insert)))
