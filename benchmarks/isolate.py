"""What a child process costs: no-ops on threads, isolated, and isolated with a process for each."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from common import Figures, python

NAME = "isolate"
TARGETS: dict[str, object] = {}

PROGRAM = """
import json, logging, sys
from turnout import Isolate, Turnout
from turnout.job import JobFilter
from turnout.worker.options import WorkerOptions
from turnout.worker.supervisor import Supervisor

jobs = Turnout("sqlite:///jobs.db")
kind, count = sys.argv[1], int(sys.argv[2])
isolate = {"thread": False, "child": True, "fresh": Isolate(reuse=1)}[kind]

@jobs.task(isolate=isolate)
def nothing(order_id: int) -> None: ...

logging.getLogger("turnout.jobs").setLevel(logging.WARNING)
jobs.enqueue_many(nothing.prepare(n) for n in range(count))
Supervisor(jobs, WorkerOptions(until_empty=True, threads=2, children=2)).run()
found = jobs.store.find(JobFilter(), limit=count)
assert len(found) == count and all(job.state == "succeeded" for job in found)
seconds = max(job.finished_at for job in found) - min(job.started_at for job in found)
print(json.dumps(seconds / count))
"""


def once(*, quick: bool) -> Figures:
    counts = {"thread": 20_000, "child": 10_000, "fresh": 300}
    took = {kind: _drain(kind, count // 10 if quick else count) for kind, count in counts.items()}
    return {
        "children": 2,
        **{f"{kind}_jobs_per_s": round(1 / each) for kind, each in took.items()},
        "child_adds_us": round((took["child"] - took["thread"]) * 1e6),
        "fresh_adds_ms": round((took["fresh"] - took["thread"]) * 1e3, 2),
    }


def _drain(kind: str, count: int) -> float:
    """Return the seconds a job, from the first start to the last end."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "drain.py"
        program.write_text(PROGRAM)
        said = python(program.name, kind, str(count), folder=Path(folder))
    return json.loads(said.splitlines()[-1])
