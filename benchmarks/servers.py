"""Drain, enqueue and pick-up on a server: `turnout bench` three times, and the medians as JSON.

    python benchmarks/servers.py postgresql://postgres@127.0.0.1/bench
    python benchmarks/servers.py redis://127.0.0.1:6379/9 --name valkey

The result goes to benchmarks/results/server_NAME.json; NAME is the URL's scheme unless given. The
store should be empty: the jobs of other programs would be drained too. Pick-ups are those of an
idle server, so they come first: PostgreSQL cleans up for a minute after a hundred thousand jobs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]

from common import RESULTS, Figures, bench, machine, medians, python  # noqa: E402 - after the path is set

JOBS, SINGLE, SAMPLES = 100_000, 2_000, 200


# Each process takes itself for a machine of its own, and the doorbell rings on one machine.
APART = """
import os
from turnout.cli import main
from turnout.store.mysql import store
store.host = lambda: str(os.getpid())
main(prog_name="turnout")
"""


def pick_up(url: str) -> Figures:
    """Return how long a job waits for an idle worker, and for one that has to poll."""
    arguments = ["latency", "--url", url, "--jobs", str(SAMPLES)]
    picked = bench(*arguments)
    figures = {"pick_up_p50_ms": picked["p50_ms"], "pick_up_p99_ms": picked["p99_ms"]}
    if not url.startswith(("mysql", "mariadb")):
        return figures
    polled = json.loads(python("-c", APART, "bench", *arguments, "--json"))
    return figures | {"polled_p50_ms": polled["p50_ms"], "polled_p99_ms": polled["p99_ms"]}


def beside_a_bare_row(url: str) -> Figures:
    """Return what one enqueue takes beside one bare INSERT, on a server that rests otherwise."""
    if not url.startswith("postgresql"):
        return {}
    pair = json.loads(python(str(HERE / "_paired.py"), "2400", url))
    figures = {name: round(pair[name], 4) for name in ("single_ms", "bare_commit_ms")}
    return figures | {"single_of_bare_commit": round(pair["single_ms"] / pair["bare_commit_ms"], 3)}


def once(url: str) -> Figures:
    """Return the other figures of one round."""
    one = bench("drain", "--url", url, "--jobs", JOBS)
    two = bench("drain", "--url", url, "--jobs", JOBS, "--processes", 2)
    bulk = bench("enqueue", "--url", url, "--bulk", "--jobs", JOBS)
    single = bench("enqueue", "--url", url, "--single", "--jobs", SINGLE)
    return {
        "store": one["store"],
        "durability": one["durability"],
        "drain_jobs": JOBS,
        "drain_jobs_per_s": one["jobs_per_s"],
        "two_processes_jobs_per_s": two["jobs_per_s"],
        "bulk_jobs_per_s": bulk["jobs_per_s"],
        "single_p50_ms": single["p50_ms"],
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="Measure Turnout on a server's store.")
    parser.add_argument("url")
    parser.add_argument("--name", help="of the result file; default: the URL's scheme")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    name = f"server_{options.name or urlsplit(options.url).scheme}"
    before = machine()
    idle = [pick_up(options.url) | beside_a_bare_row(options.url) for _ in range(options.rounds)]
    rounds = [once(options.url) | picked for picked in idle]
    median = medians(rounds)
    for key, figure in median.items():
        print(f"  {key:28} {figure:>12}")
    result = {"measure": name, "median": median, "rounds": rounds, "machine": before}
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
