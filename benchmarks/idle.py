"""What an idle worker costs: processor time of `turnout worker`, its supervisor included.

    python benchmarks/idle.py sqlite:////var/tmp/idle.db redis://127.0.0.1/9 --seconds 60

One after the other, each with the options that it has by default, one process, and nothing to do.
The figure is user and system time by /proc, in percent of one core; the result goes to
benchmarks/results/idle.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]

from common import RESULTS, Figures, machine  # noqa: E402 - after the path is set

from turnout import Turnout  # noqa: E402

WARM = 5.0  # seconds: what a start costs is not idleness
TICK = os.sysconf("SC_CLK_TCK")

if url_of_worker := os.environ.get("TURNOUT_BENCH_URL"):
    jobs = Turnout(url_of_worker)

    @jobs.task(name="nothing")
    def nothing() -> None: ...


def used(pids: list[int]) -> float:
    """Return the seconds of processor time that these processes have had."""
    ticks = 0
    for pid in pids:
        told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(told[11]) + int(told[12])
    return ticks / TICK


def idle(url: str, seconds: float) -> Figures:
    """Start a worker, let it rest, and return what resting costs it."""
    words = [sys.executable, "-m", "turnout", "worker", "idle:jobs"]
    quiet = subprocess.DEVNULL
    environment = os.environ | {"TURNOUT_BENCH_URL": url}
    supervisor = subprocess.Popen(words, env=environment, cwd=HERE, stdout=quiet, stderr=quiet)
    try:
        store = Turnout(url).store
        deadline = time.monotonic() + 30
        while not store.workers():
            if time.monotonic() > deadline:
                msg = "no worker has started within 30 s"
                raise RuntimeError(msg)
            time.sleep(0.1)
        store.close()
        time.sleep(WARM)
        children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text()
        pids = [supervisor.pid, *map(int, children.split())]
        before = used(pids)
        time.sleep(seconds)
        return {
            "processes": len(pids),
            "seconds": seconds,
            "percent_of_a_core": round(100 * (used(pids) - before) / seconds, 3),
        }
    finally:
        supervisor.terminate()
        supervisor.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description="What an idle worker costs.")
    parser.add_argument("urls", nargs="+")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    result: Figures = {"measure": "idle", "target": "at most 1 percent of a core"}
    for url in options.urls:
        Turnout(url).store.setup()
        name = urlsplit(url).scheme
        result[name] = idle(url, options.seconds)
        print(name, json.dumps(result[name]), flush=True)
    result["machine"] = machine()
    (RESULTS / "idle.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
