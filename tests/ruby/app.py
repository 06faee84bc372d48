"""The Python side of these tests; as a program, a worker over it: `app.py URL FOLDER QUEUES`."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from turnout import Turnout, exactly
from turnout.activejob import GlobalID
from turnout.worker import crew
from turnout.worker.options import WorkerOptions, parse_queues
from turnout.worker.supervisor import Supervisor


class Ledger:
    """What the jobs of both languages did, in order."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger"

    def write(self, *words: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(words) + "\n")

    def said(self, name: str) -> list[list[Any]]:
        """Return what jobs of this class wrote, without its name."""
        if not self.path.exists():
            return []
        lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [line[1:] for line in lines if line[0] == name]


def make_app(url: str, folder: Path) -> Turnout:
    """Return an application that has taken over some of Ruby's classes."""
    jobs = Turnout(url)
    ledger = Ledger(folder)

    @jobs.task(name="HardJob", wait=exactly(1_000))
    def hard_job(order_id: int, text: str = "-") -> None:
        ledger.write("HardJob", order_id, text)
        if text == "broken":
            raise LookupError("no such order")

    @jobs.task(name="BrokenJob")
    def broken_job(order: int) -> None:
        ledger.write("BrokenJob in Python", order)

    @jobs.task(name="PythonCleanupJob")
    def cleanup(
        guest: GlobalID, *, at: datetime, day: date, span: timedelta, kind: str, left: Any = None
    ) -> None:
        told = (guest.model, guest.id, at.timestamp(), day.isoformat(), span.total_seconds())
        ledger.write("PythonCleanupJob", *told, kind, left)

    @jobs.task(name="held", queue="ours")
    def held(name: str) -> None:
        import time

        ledger.write("held", name)
        while not (folder / f"go-{name}").exists():
            time.sleep(0.01)

    return jobs


def main(url: str, folder: str, queues: str) -> int:
    crew.UNKNOWN_TASK_DELAY = (0.2, 0.4)
    app = make_app(url, Path(folder))
    options = WorkerOptions(
        queues=parse_queues(queues), heartbeat=0.2, dead_after=5.0, threads=2, grace=10.0
    )
    return Supervisor(app, options).run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
