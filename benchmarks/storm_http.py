"""A real outage: an HTTP service that collapses over its knee is away for 20 s; who recovers when?

    python benchmarks/storm_http.py

The same jobs, workers and service twice: once a task names its dependency and is otherwise as by
default, once it retries at a fixed interval, as first versions of applications do. Each run ends
when every job has succeeded, or `PATIENCE` seconds after the service is back. The result goes to
benchmarks/results/storm_http.json.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from common import RESULTS, Figures, machine

from turnout.job import JobFilter, State

if TYPE_CHECKING:
    from turnout import Turnout

SERVICE = Path(__file__).parents[1] / "tests" / "process" / "service.py"
QUIET, OUTAGE, RATE, SECONDS, PATIENCE = 5.0, 20.0, 40, 40.0, 180.0
APP = """
import urllib.request
from pathlib import Path
from turnout import Turnout, exactly

HERE = Path(__file__).parent
jobs = Turnout(f"sqlite:///{HERE}/jobs.db")

def get(n):
    port = (HERE / "port").read_text()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{n}", timeout=0.3) as answer:
        answer.read()

@jobs.task(name="named", dependency="service", attempts=1_000)
def named(n: int) -> None:
    get(n)

@jobs.task(name="fixed", wait=exactly(1), attempts=1_000)
def fixed(n: int) -> None:
    get(n)
"""


def main() -> None:
    """Play both, print and write."""
    result = {
        "machine": machine(),
        "outage_s": OUTAGE,
        "jobs_per_s": RATE,
        "jobs": int(RATE * SECONDS),
    }
    for task in ("named", "fixed"):
        result[task] = play(task)
        print(task, result[task], flush=True)
    (RESULTS / "storm_http.json").write_text(json.dumps(result, indent=2) + "\n")


def play(task: str) -> Figures:
    """Return what one task's run showed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / f"shop_{task}.py").write_text(APP)
        sys.path.insert(0, name)
        jobs: Turnout = importlib.import_module(f"shop_{task}").jobs
        command = [sys.executable, "-m", "turnout", "worker", f"shop_{task}:jobs"]
        service = subprocess.Popen([sys.executable, str(SERVICE), name])
        worker = subprocess.Popen(
            [*command, "--processes", "2", "--threads", "24"], cwd=folder, stderr=subprocess.DEVNULL
        )
        try:
            figures = watch(jobs, task, folder)
            stop(worker)
            return figures | ask(folder)
        finally:
            stop(worker)
            service.kill()
            service.wait(10)
            jobs.close()
            sys.path.remove(name)


def watch(jobs: Turnout, task: str, folder: Path) -> Figures:
    """Enqueue by the clock, take the service away and bring it back; see when all is done."""
    while not (folder / "port").exists():
        time.sleep(0.05)
    began = time.monotonic()
    enqueued, back = 0, QUIET + OUTAGE
    while (now := time.monotonic() - began) < back + PATIENCE:
        due = min(int(now * RATE), int(RATE * SECONDS))
        if due > enqueued:
            jobs.enqueue_many(jobs.tasks[task].prepare(n) for n in range(enqueued, due))
            enqueued = due
        set_down(folder, QUIET <= now < back)
        if enqueued == int(RATE * SECONDS) and done(jobs, task) == enqueued:
            break
        time.sleep(0.1)
    seconds = time.monotonic() - began
    over_at = time.time() - seconds + back
    records = jobs.store.find(JobFilter(task=task), limit=enqueued)
    finished = sorted(one.finished_at - over_at for one in records if one.state is State.SUCCEEDED)
    attempts = sum(record.attempt for record in records)
    return {
        "succeeded": len(finished),
        "attempts_a_job": round(attempts / enqueued, 2),
        "99_of_100_done_s_after_the_outage": round(finished[len(finished) * 99 // 100], 1),
        "backlog_gone_s_after_the_outage": round(seconds - back, 1),
        "within_3_outages": len(finished) == enqueued and seconds - back < 3 * OUTAGE,
    }


def stop(worker: subprocess.Popen[bytes]) -> None:
    """End the worker, in good order."""
    worker.terminate()
    worker.wait(60)


def done(jobs: Turnout, task: str) -> int:
    """Return how many have succeeded."""
    succeeded = JobFilter(states=(State.SUCCEEDED,), task=task)
    return len(jobs.store.find(succeeded, limit=int(RATE * SECONDS)))


def set_down(folder: Path, is_down: bool) -> None:  # noqa: FBT001
    """Take the service away, or bring it back."""
    flag = folder / "down"
    if is_down:
        flag.touch()
    else:
        flag.unlink(missing_ok=True)


def ask(folder: Path) -> Figures:
    """Return what the service counted, once it has time to say so."""
    port = (folder / "port").read_text()
    for _ in range(30):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/counts", timeout=5) as answer:
                return json.loads(answer.read())
        except OSError:
            time.sleep(1)
    return {}


if __name__ == "__main__":
    main()
