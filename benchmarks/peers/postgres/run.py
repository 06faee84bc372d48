"""Drains of other PostgreSQL queues beside Turnout's: one worker process each, same server.

python benchmarks/peers/postgres/run.py postgresql://postgres@127.0.0.1/postgres  # 20 minutes
python benchmarks/peers/postgres/run.py URL --only pg-boss --only turnout --jobs 20000 --rounds 1

The URL's user must be allowed to create databases: each run gets a fresh one, dropped afterwards.
The peers are installed in a cache folder (~/.cache/turnout-benchmarks, or --cache), with the exact
versions of requirements.txt and package.json. Each program here says how its peer is set up, and
from which page of its documentation; watch.py describes the clock. Jobs are no-ops with 200 bytes
of arguments, all enqueued before, in the peer's bulk way; VACUUM ANALYZE follows, so that a peer
has the statistics which autovacuum would bring a minute later. Turnout's own `bench drain` gets no
such help. Slow peers run a share of the jobs, so that no run takes much longer than the others; a
shallower queue does not slow them. Each round runs all, every second one in reverse order; what is
compared is the medians of the rounds and, since machines drift, of the ratios in a round.

A peer that fails is reported as failed, with the last lines of its output, and the exit code is 1.
One that this machine cannot run (no Python 3.12, no npm) is reported as skipped.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from common import Figures, machine, medians  # noqa: E402 - after the path is set
from environments import (  # noqa: E402
    AbsentError,
    FailedError,
    cache_folder,
    interpreter,
    node,
    python,
    run,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

DURABILITY = ("fsync", "synchronous_commit", "full_page_writes")
SERVER = ("server_version", "shared_buffers", "max_wal_size")
CLOCK = "from the first call of the task function until every job is recorded as done"
OUR_CLOCK = "from asking for the first lease until the last settle is confirmed"


class Peer(NamedTuple):
    """A program here, the share of --jobs that it runs, and the Python it needs."""

    program: str
    share: float
    minimum: tuple[int, int] = (3, 11)


PEERS = {
    "graphile-worker": Peer("graphile_worker.mjs", 1),
    "pg-boss": Peer("pgboss.mjs", 1),
    "pgqueuer": Peer("pgqueuer_pg.py", 1),
    "chancy": Peer("chancy_pg.py", 0.2),
    "oban": Peer("oban_pg.py", 0.2, minimum=(3, 12)),
    "procrastinate": Peer("procrastinate_pg.py", 0.02),
    "django-tasks-db": Peer("django_tasks_pg.py", 0.02),
}
US = "turnout"
# By default our settles do not wait for the disk (a lost one is a run again); the peers' all do.
OURS = {US: "", "turnout-durable": "?settle=durable"}


def main() -> int:
    options = read_options()
    before = machine()
    with psycopg.connect(options.url) as connection:
        server = settings_of(connection)
    commands = {name: prepared(name, options) for name in options.only}
    runs: list[Figures] = []
    for number in range(options.rounds):
        for name in options.only if number % 2 == 0 else reversed(options.only):
            figures = {"measure": "drain", "peer": name, "round": number + 1}
            figures |= run_one(name, commands[name], options)
            print(shown(figures), flush=True)
            runs.append(figures)
    result = {
        "measure": "peers_postgres",
        "clock": {"peers": CLOCK, US: OUR_CLOCK},
        "median": {name: median_of(name, runs) for name in options.only},
        "runs": runs,
        "server": server,
        "machine": before | {"load_average_after": round(os.getloadavg()[0], 2)},
    }
    for name, figures in result["median"].items():
        print(f"  {name:18} {summary(figures).splitlines()[0]}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return int(any(figures["status"] == "failed" for figures in runs))


def read_options() -> argparse.Namespace:
    names = [*OURS, *PEERS]
    parser = argparse.ArgumentParser(description="Drain benchmarks of PostgreSQL queues.")
    parser.add_argument("url", help="server, postgresql://user@host:port/database")
    parser.add_argument("--jobs", type=int, default=100_000, help="jobs of the fast ones")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=str(names))
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the result goes")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for each program")
    parser.add_argument(
        "--cache", type=Path, default=cache_folder("postgres-peers"), metavar="FOLDER"
    )
    parser.add_argument("--python", help="Python for peers that need a later one than this")
    options = parser.parse_args()
    options.only = options.only or names
    return options


# ---- one run

Command = list[str]


def prepared(name: str, options: argparse.Namespace) -> Command | Exception:
    """Return what starts a program, its environment made when there is none, or why it cannot."""
    if name in OURS:
        return [sys.executable, "-m", "turnout", "bench", "drain", "--processes", "1", "--json"]
    peer = PEERS[name]
    try:
        if peer.program.endswith(".mjs"):
            with_node, folder = node(HERE, options.cache)
            return [str(with_node), str(folder / peer.program)]
        with_python = python(HERE, options.cache, interpreter(peer.minimum, options.python))
        return [str(with_python), str(HERE / peer.program)]
    except (AbsentError, FailedError, OSError) as error:
        return error


def run_one(name: str, command: Command | Exception, options: argparse.Namespace) -> Figures:
    """Return the figures of one drain, or why there are none."""
    figures: Figures = {"load_average": round(os.getloadavg()[0], 2)}
    try:
        if isinstance(command, Exception):
            raise command
        with fresh_database(options.url, f"turnout_peer_{name.replace('-', '_')}") as url:
            run_it = drain_turnout if name in OURS else drain_peer
            return figures | {"status": "ok"} | run_it(name, command, url, options)
    except AbsentError as error:
        return figures | {"status": "skipped", "reason": str(error)}
    except (FailedError, OSError, psycopg.Error) as error:
        return figures | {"status": "failed", "reason": str(error)}


def drain_peer(name: str, command: Command, url: str, options: argparse.Namespace) -> Figures:
    jobs = max(int(options.jobs * PEERS[name].share), 1)
    run([*command, "fill", url, str(jobs)], timeout=options.timeout)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        settings = settings_of(connection)
    ran = run([*command, "work", url, str(jobs)], timeout=options.timeout)
    figures = json.loads(ran.out.splitlines()[-1])
    if figures["task_calls"] != jobs or figures["recorded_done"] not in {None, jobs}:
        msg = f"{jobs} jobs, {figures['task_calls']} calls, {figures['recorded_done']} recorded"
        raise FailedError(msg)
    return {
        "store": "postgresql",
        "durability": ", ".join(f"{key}={settings[key]}" for key in DURABILITY),
        "jobs": jobs,
        "processes": 1,
        "payload": 200,
        "jobs_per_s": round(jobs / figures["seconds"]),
        **figures,
    }


def drain_turnout(name: str, command: Command, url: str, options: argparse.Namespace) -> Figures:
    given = ["--url", url + OURS[name], "--jobs", str(options.jobs)]
    figures = json.loads(run([*command, *given], timeout=options.timeout).out)
    notes = figures.pop("machine")
    return {
        **figures,
        "version": version_of_turnout(),
        "runtime": f"Python {notes['python']}",
        "concurrency": figures["threads"],
    }


def version_of_turnout() -> str:
    import turnout

    return turnout.__version__


# ---- the server


@contextmanager
def fresh_database(server: str, name: str) -> Iterator[str]:
    """Make a new database, yield its URL, and drop it in the end."""
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(drop)
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        with suppress(psycopg.errors.InsufficientPrivilege):
            connection.execute("CHECKPOINT")  # no one pays for the writes of the one before
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(drop)


def settings_of(connection: psycopg.Connection) -> Figures:
    rows = [connection.execute(f"SHOW {name}").fetchone() for name in (*DURABILITY, *SERVER)]
    return {name: row[0] for name, row in zip((*DURABILITY, *SERVER), rows, strict=True) if row}


# ---- the report


def median_of(name: str, runs: list[Figures]) -> Figures:
    """Return the medians of one peer's rounds, and of Turnout's rate over its own in a round."""
    mine = [figures for figures in runs if figures["peer"] == name]
    good = [figures for figures in mine if figures["status"] == "ok"]
    if len(good) < len(mine):
        bad = next(figures for figures in mine if figures["status"] != "ok")
        return {key: bad[key] for key in ("status", "reason")} | {"good_rounds": len(good)}
    kept = ("version", "runtime", "jobs", "processes", "concurrency", "seconds", "jobs_per_s")
    median = {"status": "ok"} | medians([{key: run[key] for key in kept} for run in good])
    for name_of_ours in OURS if name not in OURS else ():
        ours = {f["round"]: f for f in runs if f["peer"] == name_of_ours and f["status"] == "ok"}
        ratios = [rate(ours[f["round"]]) / rate(f) for f in good if f["round"] in ours]
        if ratios:
            median[f"{name_of_ours}_of_peer"] = round(statistics.median(ratios), 2)
    return median


def rate(figures: Figures) -> float:
    return figures["jobs"] / figures["seconds"]


def shown(figures: Figures) -> str:
    return f"round {figures['round']}: {figures['peer']:16} {summary(figures)}"


def summary(figures: Figures) -> str:
    if figures["status"] != "ok":
        return f"{figures['status'].upper()}: {figures['reason']}"
    text = f"{figures['jobs_per_s']:>9,.0f} jobs/s"
    text += f"  ({figures['jobs']:,.0f} jobs in {figures['seconds']:.2f} s)"
    ratios = [(name, figures.get(f"{name}_of_peer")) for name in OURS]
    return text + "".join(f", {name} {ratio:g} times that" for name, ratio in ratios if ratio)


if __name__ == "__main__":
    sys.exit(main())
