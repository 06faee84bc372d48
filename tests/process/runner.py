"""Starts a real supervisor over the test application: `runner.py FOLDER JSON`."""

from __future__ import annotations

import itertools
import json
import logging
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from process.shop import make_app
from turnout.worker import crew
from turnout.worker.options import WorkerOptions, parse_queues
from turnout.worker.supervisor import Supervisor


def main(folder: str, text: str) -> int:
    options = json.loads(text)
    # Unknown tasks come back sooner than in production, so that the test need not wait 15 s.
    crew.UNKNOWN_TASK_DELAY = (0.2, 0.4)
    logging.basicConfig(level=logging.INFO, format="%(process)d %(levelname)s %(message)s")
    set_clock(options.pop("clock", 0.0), options.pop("jumps", 0.0))
    app = make_app(Path(folder), options.pop("url"), extra=options.pop("extra", False))
    if options.pop("preload", False):
        app.tasks["note"].enqueue("preload")
        assert app.store.count()
    queues = parse_queues(options.pop("queues", ""))
    return Supervisor(app, WorkerOptions(queues=queues, **options)).run()


def set_clock(off: float, jumps: float) -> None:
    """Put this process's clock off by so many seconds, or let it jump at each look."""
    machine, looks = time.time, itertools.count()
    if off or jumps:
        time.time = lambda: machine() + off + (next(looks) % 2) * jumps


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
