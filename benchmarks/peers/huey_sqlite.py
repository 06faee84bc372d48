"""Huey on SQLite: a drain of no-ops by its own consumer, beside Turnout's in the same round.

As Huey's documentation has it: `SqliteHuey`, a consumer with ten worker threads, no results kept
(the task returns None). `default` leaves its pragmas alone (WAL, SQLite's own synchronous FULL),
`fsync_off` is its documented `fsync=False`, which survives a killed process but not a power cut.
The clock runs from the start of the consumer to the return of the last task; Turnout's runs from
the first lease to the last settle.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

if __name__ != "__main__":
    from common import HERE, Figures, bench, python

NAME = "peer_huey"
TARGETS: dict[str, object] = {}
NEEDS = "huey"


def is_there() -> bool:
    return importlib.util.find_spec("huey") is not None


def once(*, quick: bool) -> Figures:
    jobs = 500 if quick else 20_000
    this = str(HERE / "peers" / "huey_sqlite.py")
    result = json.loads(python(this, str(jobs)))
    ours = bench("drain", "--jobs", jobs, "--threads", 10)
    return {
        "jobs": jobs,
        "threads": 10,
        **result,
        "turnout_jobs_per_s": ours["jobs_per_s"],
        "turnout_of_huey_default": round(ours["jobs_per_s"] / result["default_jobs_per_s"], 1),
        "turnout_of_huey_fsync_off": round(ours["jobs_per_s"] / result["fsync_off_jobs_per_s"], 1),
    }


def drain(path: str, jobs: int, **options: object) -> float:
    """Return jobs a second."""
    from huey import SqliteHuey

    huey = SqliteHuey(filename=path, **options)
    left = [jobs]
    count = threading.Lock()
    done = threading.Event()

    @huey.task()
    def noop(text: str) -> None:
        del text
        with count:
            left[0] -= 1
            if not left[0]:
                done.set()

    for _ in range(jobs):
        noop("x" * 188)
    consumer = huey.create_consumer(workers=10, worker_type="thread", periodic=False)
    began = time.perf_counter()
    consumer.start()
    if not done.wait(600):
        msg = f"huey left {left[0]} of {jobs} tasks"
        raise RuntimeError(msg)
    seconds = time.perf_counter() - began
    consumer.stop(graceful=True)
    return round(jobs / seconds)


def main() -> None:
    import logging

    import huey

    logging.getLogger("huey").setLevel(logging.ERROR)
    number = int(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="huey-") as folder:
        default = drain(str(Path(folder) / "default.db"), number)
        off = drain(str(Path(folder) / "off.db"), number, fsync=False)
    print(
        json.dumps(
            {
                "huey": huey.__version__,
                "default_jobs_per_s": default,
                "fsync_off_jobs_per_s": off,
            }
        )
    )


if __name__ == "__main__":
    main()
