"""A limit under kill -9, and what limits cost those that they do not hold.

    python benchmarks/limits.py sqlite:////var/tmp/limits.db
    python benchmarks/limits.py 'postgresql://postgres@127.0.0.1/bench?schema=limits'
    python benchmarks/limits.py redis://127.0.0.1/9

First --jobs jobs that share a limit of eight run in four processes, one of which is killed every
twenty seconds; each job writes its start and its end to a ledger, where the deaths stand too. What
counts is how many ran at once at most. Then a worker process drains jobs without a limit: alone,
in an application that declares limits for other tasks, and beside ten thousand jobs whose limit is
taken; jobs a second, medians of the rounds, and of their ratios. The result goes to
benchmarks/results/limits_NAME.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
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

from turnout import Turnout, concurrency, rate  # noqa: E402

CHUNK, MOST, EVERY, TAKEN = 10_000, 8, 20.0, 10_000
KINDS = ("alone", "declared", "saturated")


def make_app(url: str, told: str, kind: str) -> Turnout:
    jobs = Turnout(url)
    ledger = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @jobs.task(name="noop", queue="free")
    def noop(text: str) -> None:
        del text

    if kind == "alone":
        return jobs

    @jobs.task(name="slot", queue="held", limit=concurrency("slot", MOST))
    def slot(number: int) -> None:
        # A line is one write: what stands before another in the file happened before it.
        os.write(ledger, f"start {number} {os.getpid()}\n".encode())
        time.sleep(0.002)
        os.write(ledger, f"end {number} {os.getpid()}\n".encode())

    @jobs.task(name="one", queue="held", limit=[concurrency("one", 1), rate("one", 1, per=3_600)])
    def one(seconds: float) -> None:
        time.sleep(seconds)

    return jobs


if url_of_worker := os.environ.get("TURNOUT_BENCH_URL"):
    jobs = make_app(
        url_of_worker, os.environ["TURNOUT_BENCH_TOLD"], os.environ["TURNOUT_BENCH_KIND"]
    )


def worker(url: str, told: str, kind: str, *options: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "turnout", "worker", "limits:jobs", "--log-level", "error"]
    more = {"TURNOUT_BENCH_URL": url, "TURNOUT_BENCH_TOLD": told, "TURNOUT_BENCH_KIND": kind}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        [*words, *options], env=os.environ | more, cwd=HERE, stdout=quiet, stderr=quiet
    )


def counted(app: Turnout, queue: str) -> tuple[int, int]:
    """Return how many jobs of a queue wait or run, and how many succeeded."""
    stats = next((one for one in app.store.count() if one.queue == queue), None)
    if stats is None:
        return 0, 0
    return stats.ready + stats.scheduled + stats.running, stats.succeeded


def fill(app: Turnout, task: str, count: int, *args: object) -> None:
    bound = app.tasks[task]
    for first in range(0, count, CHUNK):
        several = range(first, min(first + CHUNK, count))
        app.enqueue_many(bound.prepare(*(args or (number,))) for number in several)


# ---- never exceeded


def killed(url: str, count: int) -> Figures:
    """Return how many jobs ran at once at most, while processes were killed."""
    with tempfile.TemporaryDirectory() as folder:
        told = f"{folder}/told"
        app = make_app(url, told, "declared")
        fill(app, "slot", count)
        sizes = ("--processes", "4", "--threads", "8", "--lease", "3s")
        process = worker(url, told, "declared", *sizes)
        rng, kills, began = random.Random(7), 0, time.monotonic()
        try:
            next_at = began + EVERY
            while counted(app, "held")[0]:
                time.sleep(0.5)
                if time.monotonic() >= next_at:
                    next_at += EVERY
                    kills += kill_one(process.pid, told, rng)
        finally:
            process.terminate()
            process.wait(60)
        took = time.monotonic() - began
        lines = [line.split() for line in Path(told).read_text("ascii").splitlines()]
        app.close()
    ran = [line[1] for line in lines if line[0] == "end"]
    return {
        "jobs": count,
        "ended": len(set(ran)),
        "ended_twice": len(ran) - len(set(ran)),
        "limit": MOST,
        "most_at_once": most_at_once(lines),
        "kills": kills,
        "seconds": round(took, 1),
    }


def kill_one(parent: int, told: str, rng: random.Random) -> int:
    """Kill a worker process; the ledger knows of it before others may run what it held."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii").split()
    if not children:
        return 0
    victim = int(rng.choice(children))
    os.kill(victim, signal.SIGSTOP)
    while Path(f"/proc/{victim}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "T":
        time.sleep(0.001)
    with Path(told).open("a", encoding="ascii") as ledger:
        ledger.write(f"killed 0 {victim}\n")
    os.kill(victim, signal.SIGKILL)
    return 1


def most_at_once(lines: list[list[str]]) -> int:
    running: set[tuple[str, str]] = set()
    most = 0
    for word, number, pid in lines:
        if word == "killed":
            running = {one for one in running if one[1] != pid}
        elif word == "start":
            running.add((number, pid))
            most = max(most, len(running))
        else:
            running.discard((number, pid))
    return most


# ---- what it costs others


def drain(url: str, count: int, kind: str) -> float:
    """Return jobs a second of those without a limit, after the first tenth."""
    with tempfile.TemporaryDirectory() as folder:
        app = make_app(url, f"{folder}/told", kind)
        if kind == "saturated":
            fill(app, "one", TAKEN, 0.0)
        fill(app, "noop", count, "x" * 188)
        process = worker(url, f"{folder}/told", kind, "--queues", "free,held")
        try:
            began = until(app, count - count // 10)
            left = app.store.ready().get("free", 0)
            rate = left / (until(app, 0) - began)
        finally:
            process.terminate()
            process.wait(60)
        if kind == "saturated":
            from turnout.job import JobFilter

            while app.store.change(JobFilter(task="one"), "delete", limit=5_000):
                continue
        app.close()
    return rate


def until(app: Turnout, most: int) -> float:
    while app.store.ready().get("free", 0) > most:
        time.sleep(0.02)
    return time.monotonic()


def costs(url: str, count: int, rounds: int) -> Figures:
    """Return the rates of each kind, and what is left of that of the first."""
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(rounds):
        for kind in KINDS if number % 2 == 0 else reversed(KINDS):
            rates[kind].append(drain(url, count, kind))
    found: Figures = {f"{kind}_jobs_per_s": round(statistics.median(rates[kind])) for kind in KINDS}
    for kind in KINDS[1:]:
        ratios = [one / other for one, other in zip(rates[kind], rates["alone"], strict=True)]
        found[f"{kind}_of_alone"] = round(statistics.median(ratios), 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Limits under kills, and what they cost.")
    parser.add_argument("url")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--drained", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("killed", "costs"))
    parser.add_argument("--name", help="of the result file; default: the URL's scheme")
    options = parser.parse_args()
    name = options.name or urlsplit(options.url).scheme
    file = RESULTS / f"limits_{name}.json"
    result: Figures = json.loads(file.read_text("utf-8")) if file.exists() else {}
    result |= {"measure": "limits", "machine": machine()}
    if options.only != "costs":
        result["killed"] = killed(options.url, options.jobs)
        print(json.dumps(result["killed"]), flush=True)
    if options.only != "killed":
        result["costs"] = costs(options.url, options.drained, options.rounds)
        print(json.dumps(result["costs"]), flush=True)
    file.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
