"""A lane of many jobs in front: how soon another tenant's job starts, and what turns cost.

    python benchmarks/lanes.py sqlite:////var/tmp/lanes.db
    python benchmarks/lanes.py 'postgresql://postgres@127.0.0.1/bench?schema=lanes'
    python benchmarks/lanes.py redis://127.0.0.1/9

In an empty store one lane gets --jobs no-ops. A worker process with ten threads works on them, and
while it does, a job of another lane is enqueued every fifth of a second: what is timed is the way
from the call of `enqueue` to the first line of the task, in milliseconds. Then --drained jobs are
drained that stand in no lane, in one, in a hundred and in ten thousand: jobs a second, medians of
the rounds. The result goes to benchmarks/results/lanes_NAME.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]

from common import RESULTS, Figures, machine  # noqa: E402 - after the path is set

from turnout import Turnout  # noqa: E402
from turnout.job import JobFilter  # noqa: E402

CHUNK, SAMPLES, EVERY = 10_000, 60, 0.2
LANES = (0, 1, 100, 10_000)


def make_app(url: str, told: str) -> Turnout:
    jobs = Turnout(url)

    @jobs.task(name="noop", queue="lanes")
    def noop(text: str) -> None:
        del text

    @jobs.task(name="told", queue="lanes")
    def tell(at: float) -> None:
        took = time.time() - at
        with Path(told).open("a", encoding="ascii") as file:
            file.write(f"{took}\n")

    return jobs


if url_of_worker := os.environ.get("TURNOUT_BENCH_URL"):
    jobs = make_app(url_of_worker, os.environ["TURNOUT_BENCH_TOLD"])


def worker(url: str, told: str, *options: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "turnout", "worker", "lanes:jobs", "--queues", "lanes", *options]
    environment = os.environ | {"TURNOUT_BENCH_URL": url, "TURNOUT_BENCH_TOLD": told}
    quiet = subprocess.DEVNULL
    words += ["--log-level", "error"]
    return subprocess.Popen(words, env=environment, cwd=HERE, stdout=quiet, stderr=quiet)


def fill(app: Turnout, count: int, lanes: int) -> None:
    """Enqueue jobs into so many lanes by turns; 0: into none."""
    task = app.tasks["noop"]
    bound = [task.using(lane=f"t{n}") for n in range(lanes)] or [task]
    for first in range(0, count, CHUNK):
        several = range(first, min(first + CHUNK, count))
        app.enqueue_many(bound[n % len(bound)].prepare("x" * 188) for n in several)


def waiting(app: Turnout) -> int:
    return sum(app.store.ready().values())


def until(app: Turnout, most: int) -> float:
    """Wait until no more than so many are ready; the time then."""
    while waiting(app) > most:
        time.sleep(0.02)
    return time.monotonic()


def starts(url: str, count: int) -> Figures:
    """Return how long jobs of another lane took to their start, beside a lane of many."""
    with tempfile.TemporaryDirectory() as folder:
        told = f"{folder}/told"
        app = make_app(url, told)
        fill(app, count, 1)
        process = worker(url, told)
        try:
            until(app, count - 1)
            other, left = app.tasks["told"].using(lane="other"), []
            for _ in range(SAMPLES):
                other.enqueue(time.time())
                time.sleep(EVERY)
                left.append(waiting(app))
        finally:
            process.terminate()
            process.wait(60)
        while app.store.change(JobFilter(task="noop"), "delete", limit=10_000):
            continue
        took = sorted(1_000 * float(line) for line in Path(told).read_text("ascii").splitlines())
        app.close()
    return {
        "in_front": count,
        "in_front_at_the_end": left[-1],
        "samples": len(took),
        "start_p50_ms": round(statistics.median(took), 1),
        "start_p99_ms": round(took[int(len(took) * 0.99)], 1),
        "start_most_ms": round(took[-1], 1),
    }


def drain(url: str, count: int, lanes: int) -> float:
    """Return jobs a second from the first tenth that is done to the last."""
    with tempfile.TemporaryDirectory() as folder:
        app = make_app(url, f"{folder}/told")
        fill(app, count, lanes)
        process = worker(url, f"{folder}/told", "--until-empty")
        began = until(app, count - count // 10)
        left = waiting(app)
        rate = left / (until(app, 0) - began)
        process.wait(60)
        app.close()
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description="Lanes of one queue.")
    parser.add_argument("url")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--drained", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--name", help="of the result file; default: the URL's scheme")
    options = parser.parse_args()
    before = machine()
    started = starts(options.url, options.jobs)
    print(json.dumps(started), flush=True)
    rates: dict[int, list[float]] = {lanes: [] for lanes in LANES}
    for _ in range(options.rounds):
        for lanes, found in rates.items():
            found.append(drain(options.url, options.drained, lanes))
    drained = {f"{lanes}_lanes": round(statistics.median(found)) for lanes, found in rates.items()}
    print(json.dumps(drained), flush=True)
    result = {"measure": "lanes", "start": started, "drain_jobs_per_s": drained, "machine": before}
    name = options.name or urlsplit(options.url).scheme
    file = RESULTS / f"lanes_{name}.json"
    file.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
