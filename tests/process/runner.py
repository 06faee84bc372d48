"""Starts a real supervisor over the test application: `runner.py FOLDER JSON`."""

from __future__ import annotations

import itertools
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from process.shop import make_app
from support import nextversion
from turnout import Turnout
from turnout.job import Exchanged, Outcome
from turnout.worker import crew
from turnout.worker.options import WorkerOptions, parse_queues
from turnout.worker.supervisor import Supervisor


def main(folder: str, text: str) -> int:
    options = json.loads(text)
    # Unknown tasks come back sooner than in production, so that the test need not wait 15 s.
    crew.UNKNOWN_TASK_DELAY = (0.2, 0.4)
    logging.basicConfig(level=logging.INFO, format="%(process)d %(levelname)s %(message)s")
    if options.pop("next", False):
        nextversion.install()
    set_clock(options.pop("clock", 0.0), options.pop("jumps", 0.0))
    app = make_app(Path(folder), options.pop("url"), extra=options.pop("extra", False))
    if "dies" in options:
        die_once(app, options.pop("dies"), Path(folder) / "died")
    if options.pop("preload", False):
        app.tasks["note"].enqueue("preload")
        assert app.store.count()
    queues = parse_queues(options.pop("queues", ""))
    return Supervisor(app, WorkerOptions(queues=queues, **options)).run()


def die_once(app: Turnout, step: str, mark: Path) -> None:
    """Kill the first process that comes to a step on a job's way: leased, settling or settled."""
    exchange = app.store.exchange

    def deadly(epoch: str, outcomes: Sequence[Outcome], *rest: Any, **more: Any) -> Exchanged:
        if step == "settling" and outcomes:
            die(mark)
        answer = exchange(epoch, outcomes, *rest, **more)
        if (step == "leased" and answer.leased) or (step == "settled" and outcomes):
            die(mark)
        return answer

    app.store.exchange = deadly


def die(mark: Path) -> None:
    """End this process as a crash does, unless one has before."""
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def set_clock(off: float, jumps: float) -> None:
    """Put this process's clock off by so many seconds, or let it jump at each look."""
    machine, looks = time.time, itertools.count()
    if off or jumps:
        time.time = lambda: machine() + off + (next(looks) % 2) * jumps


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
