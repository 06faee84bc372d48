"""Drains and looks on a server that holds many jobs besides: ready ones and scheduled ones.

    python benchmarks/server_depth.py 'postgresql://postgres@127.0.0.1/bench?schema=deep' \\
        'postgresql://postgres@127.0.0.1/bench?schema=empty'
    python benchmarks/server_depth.py redis://127.0.0.1/9 redis://127.0.0.1/8 --ready 1000000

Fills another queue of the first store with ready jobs and with jobs of next year, unless --filled
says that it is, rests, and drains the bench's own queue of both stores by turns. Then it looks as
an operator would: `count`, the newest page of a queue, of one task, of what is ready, of the dead.
The result goes to benchmarks/results/depth_NAME.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]

from common import RESULTS, Figures, bench, machine  # noqa: E402 - after the path is set

from turnout import Turnout  # noqa: E402
from turnout.job import JobFilter, State  # noqa: E402

CHUNK = 10_000


def _other(text: str) -> None:
    del text


def fill(url: str, ready: int, scheduled: int) -> None:
    """Enqueue in two processes: half each."""
    fork = get_context("fork")
    parts = [fork.Process(target=_fill, args=(url, ready // 2, scheduled // 2)) for _ in range(2)]
    for part in parts:
        part.start()
    for part in parts:
        part.join()


def _fill(url: str, ready: int, scheduled: int) -> None:
    jobs = Turnout(url, default_queue="other")
    task = jobs.task(name="other")(_other)
    for kind, count in ((task, ready), (task.using(delay=365 * 86_400), scheduled)):
        for done in range(0, count, CHUNK):  # handles of a million jobs would fill the memory
            jobs.enqueue_many(kind.prepare("x" * 188) for _ in range(min(CHUNK, count - done)))
    jobs.close()


def looks(url: str) -> Figures:
    """Return the milliseconds of each look, medians of five; one of over a second is not repeated.

    On Redis a look for anything but ids is a scan, and nobody waits for it: a page of the dashboard
    gives up after 0.1 s and says how far it came (dashboard.py measures those).
    """
    store = Turnout(url).store
    [newest] = store.find(JobFilter(queue="other"), limit=1)
    middle = newest.enqueued_at - 10
    asked = {
        "count_ms": store.count,
        "page_of_queue_ms": lambda: store.find(JobFilter(queue="other"), limit=50),
        "page_of_task_ms": lambda: store.find(JobFilter(task="other"), limit=50),
        "page_of_no_task_ms": lambda: store.find(JobFilter(task="none"), limit=50),
        "page_of_no_error_ms": lambda: store.find(JobFilter(error="NoSuchError"), limit=50),
        "page_of_retrying_ms": lambda: store.find(JobFilter(view="retrying"), limit=50),
        "page_of_later_ms": lambda: store.find(JobFilter(since=time.time() + 60), limit=50),
        "page_of_before_ms": lambda: store.find(JobFilter(before=middle), limit=50),
        "page_of_ready_ms": lambda: store.find(
            JobFilter(states=(State.QUEUED,), view="ready", queue="other"), limit=50
        ),
        "page_of_dead_ms": lambda: store.find(JobFilter(states=(State.DEAD,)), limit=50),
    }
    took: Figures = {}
    for name, look in asked.items():
        times = []
        for _ in range(5):
            began = time.perf_counter()
            look()
            times.append(time.perf_counter() - began)
            if times[0] > 1.0:
                break
        took[name] = round(statistics.median(times) * 1000, 1)
    store.close()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description="Drain beside a deep queue on a server.")
    parser.add_argument("deep", help="URL of the store that is filled")
    parser.add_argument("empty", help="URL of an empty store on the same server")
    parser.add_argument("--ready", type=int, default=5_000_000)
    parser.add_argument("--scheduled", type=int, default=1_000_000)
    parser.add_argument("--filled", action="store_true", help="the first store is filled already")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--name", help="of the result file; default: the URL's scheme")
    parser.add_argument("--rest", type=float, default=90.0, help="seconds after the filling")
    options = parser.parse_args()
    name = f"depth_{options.name or urlsplit(options.deep).scheme}"
    before = machine()
    if not options.filled:
        fill(options.deep, options.ready, options.scheduled)
        time.sleep(options.rest)  # a server looks through what was added once a minute
    rates: dict[str, list[int]] = {options.empty: [], options.deep: []}
    for url in (*rates, *reversed(rates), *rates):
        # Without a trace: a round's would be deleted before the next, job by job.
        drained = bench("drain", "--no-trace", "--jobs", options.jobs, "--url", url)
        rates[url].append(drained["jobs_per_s"])
    empty, deep = rates.values()
    result = {
        "measure": name,
        "ready_beside": options.ready,
        "scheduled_beside": options.scheduled,
        "empty_jobs_per_s": empty,
        "deep_jobs_per_s": deep,
        "deep_of_empty": round(statistics.median(deep) / statistics.median(empty), 3),
        **looks(options.deep),
        "machine": before,
    }
    print(json.dumps(result, indent=2))
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
