"""taskito: its thread pool of 10 on its own default store, a SQLite file, with batches of 100.

Fill removes what an earlier round left. Jobs are enqueued with `map`, its bulk call.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path

from tally import TALLY, TEXT, Peer, main
from taskito import Queue

THREADS, BATCH = 10, 100
FILE = Path(tempfile.gettempdir()) / f"taskito-{os.getppid()}-{sys.argv[3]}.db"
if sys.argv[1] == "fill":
    for left in FILE.parent.glob(f"{FILE.name}*"):
        left.unlink()
queue = Queue(db_path=str(FILE), workers=THREADS, scheduler_batch_size=BATCH)


@queue.task(name="noop")
def noop(text: str) -> None:
    del text
    TALLY.called()


def fill(jobs: int) -> None:
    for at in range(0, jobs, 1000):
        noop.map([(TEXT,)] * min(1000, jobs - at))


def work() -> None:
    logging.disable(logging.INFO)
    queue.run_worker()


if __name__ == "__main__":
    settings = {"store": "SQLite, its default", "workers": THREADS, "scheduler_batch_size": BATCH}
    main(Peer("taskito", fill, work, settings))
