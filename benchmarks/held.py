"""Jobs pass through while somebody keeps a transaction open: does the last tenth go as fast?

    python benchmarks/held.py postgresql://postgres@127.0.0.1/bench
    python benchmarks/held.py mariadb://root@127.0.0.1/bench --jobs 300000

Before the first job is enqueued another connection takes a snapshot and keeps it to the end, as a
forgotten session or a long report does; nothing that is deleted meanwhile can be vacuumed. Then the
jobs are enqueued and one worker with ten threads drains them. The result, in
benchmarks/results/held_NAME.json, has the rate of each tenth and last over first.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]

from common import RESULTS, machine  # noqa: E402 - after the path is set

from turnout.cli import _bench_drain as drain  # noqa: E402
from turnout.cli._bench_load import QUEUE, Load, for_each, measured_store  # noqa: E402
from turnout.worker.options import QueueSpec, WorkerOptions  # noqa: E402
from turnout.worker.process import WorkerProcess  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from turnout.cli._bench_load import Result, Start


@contextmanager
def snapshot(url: str) -> Iterator[None]:
    """Keep a snapshot open on the server."""
    parts = urlsplit(url)
    if parts.scheme.startswith("postgres"):
        import psycopg

        with psycopg.connect(url) as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT count(*) FROM pg_class")
            yield
        return
    import pymysql

    who = {"user": parts.username, "password": parts.password or "", "port": parts.port or 3306}
    connection = pymysql.connect(host=parts.hostname, database=parts.path.strip("/"), **who)
    with connection.cursor() as cursor:
        cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        cursor.execute("SELECT 1")
        yield
    connection.close()


class Tenths(drain.Watch):
    """Notes when each tenth of the jobs was settled."""

    def __init__(self, store: Any, jobs: int) -> None:
        super().__init__(store)
        self._jobs = jobs
        self.at: list[float] = []

    def exchange(self, *values: Any, **when: Any) -> Any:
        answer = super().exchange(*values, **when)
        while self.settled * 10 >= self._jobs * (len(self.at) + 1):
            self.at.append(time.monotonic())
        return answer


def work(load: Load, _index: int, start: Start) -> Result:
    jobs, _ = load.application()
    tenths = Tenths(jobs.store, load.jobs)
    options = WorkerOptions(queues=(QueueSpec(QUEUE),), threads=load.threads, until_empty=True)
    worker = WorkerProcess(jobs, options)
    start()
    worker.run()
    jobs.close()
    return {"marks": [tenths.first, *tenths.at], "settled": tenths.settled}


def measure(url: str, jobs: int, *, held: bool) -> Result:
    load = Load(url=url, jobs=jobs, threads=10)
    with measured_store(load) as (load, about):
        if not held:
            [told] = _drained(load)
        else:
            with snapshot(url):
                [told] = _drained(load)
    marks = told["marks"]
    rates = [round(jobs / 10 / (b - a)) for a, b in pairwise(marks)]
    return {
        "store": about["store"],
        "settled": told["settled"],
        "jobs_per_s": round(jobs / (marks[-1] - marks[0])),
        "each_tenth": rates,
        "last_to_first": round(rates[-1] / rates[0], 3),
    }


def _drained(load: Load) -> list[Result]:
    for_each(load, drain._fill, 1)  # noqa: SLF001 - the bench's own load
    return for_each(load, work, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Drain beside a transaction that is kept open.")
    parser.add_argument("url")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--name", help="of the result file; default: the URL's scheme")
    options = parser.parse_args()
    name = f"held_{options.name or urlsplit(options.url).scheme}"
    before = machine()
    result = {
        "measure": name,
        "jobs": options.jobs,
        "held": measure(options.url, options.jobs, held=True),
        "free": measure(options.url, options.jobs, held=False),
        "machine": before,
    }
    print(json.dumps(result, indent=2))
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
