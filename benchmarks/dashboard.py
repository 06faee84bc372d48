"""The dashboard's pages beside many jobs, and what a drain loses while pages are open.

    python benchmarks/dashboard.py sqlite:////var/tmp/deep.db
    python benchmarks/dashboard.py 'postgresql://postgres@127.0.0.1/bench?schema=deep'
    python benchmarks/dashboard.py redis://127.0.0.1/9 --jobs 1000000

Fills the store, unless --filled says that it is: a fifth of the jobs is scheduled, a hundredth has
died, and more than that has succeeded, run by real workers; the rest is ready, in twenty queues.
The server has a minute to write and to vacuum. Then `turnout web` serves it, in a process of its
own, and every page is asked for by turns. What is timed is a whole GET on loopback, in
milliseconds: medians, and the slowest. Last, drains by turns, without the dashboard and with it
open as a browser holds it: a line of events, and the overview read again at each of them. The
result goes to benchmarks/results/dashboard_NAME.json.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import quote, urlsplit

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]

from common import RESULTS, Figures, bench, machine  # noqa: E402 - after the path is set

from turnout import Turnout  # noqa: E402
from turnout.job import JobFilter, State  # noqa: E402

CHUNK, QUEUES, DRAINED = 10_000, 20, 100_000
QUERIES = (
    "state:dead", "state:ready", "state:scheduled", "task:charge_card", "task:send_*",
    "state:dead error:CardError", "state:dead arg.order_id:7", "age>1h", "queue:q3 state:ready",
    "task:charge_card state:succeeded",
)  # fmt: skip
ASSETS = ("/static/turnout.css", "/static/turnout.js", "/static/icon.svg")


class CardError(Exception):
    """What some of the jobs here die of."""


def make_app(url: str) -> Turnout:
    jobs = Turnout(url)

    @jobs.task(name="send_mail")
    def send_mail(order_id: int, text: str) -> None:
        del order_id, text

    @jobs.task(name="charge_card", attempts=1)
    def charge_card(order_id: int, text: str) -> None:
        if order_id % 2 == 0:
            msg = f"card of order {order_id} was refused: {text[:20]}"
            raise CardError(msg)

    return jobs


if url_of_served := os.environ.get("TURNOUT_BENCH_URL"):
    jobs = make_app(url_of_served)


# ---- filling


def fill(url: str, count: int) -> None:
    """Enqueue in two processes, half each; then run those jobs that are to have an end."""
    fork = get_context("fork")
    parts = [fork.Process(target=_fill, args=(url, count // 2)) for _ in range(2)]
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    served("worker", url, "--queues", "ends", "--until-empty", "--processes", "2").wait()


def _fill(url: str, count: int) -> None:
    jobs = make_app(url)
    mail, card = jobs.tasks["send_mail"], jobs.tasks["charge_card"]
    ended = min(count // 50, 50_000)
    kinds = [(card.using(queue="ends"), ended), (mail.using(delay=365 * 86_400), count // 5)]
    ready = (count - ended - count // 5) // QUEUES
    kinds += [(mail.using(queue=f"q{number}"), ready) for number in range(QUEUES)]
    for kind, many in kinds:
        for first in range(0, many, CHUNK):  # handles of a million jobs would fill the memory
            several = range(first, min(first + CHUNK, many))
            jobs.enqueue_many(kind.prepare(n, "x" * 180) for n in several)
    jobs.close()


def served(command: str, url: str, *options: str) -> subprocess.Popen[bytes]:
    """Start one of Turnout's programs for the application above."""
    words = [sys.executable, "-m", "turnout", command, "dashboard:jobs", *options]
    environment = os.environ | {"TURNOUT_BENCH_URL": url}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(words, env=environment, cwd=HERE, stdout=quiet, stderr=quiet)


# ---- looking


class Browser:
    """One connection that stays open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._line = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def get(self, path: str) -> tuple[float, int]:
        """Return the milliseconds that a page took and its bytes, as they were sent."""
        began = time.perf_counter()
        self._line.request("GET", path, headers={"accept-encoding": "gzip"})
        answer = self._line.getresponse()
        body = answer.read()
        took = (time.perf_counter() - began) * 1_000
        if answer.status != 200:
            msg = f"{path} answered {answer.status}: {body[:200]!r}"
            raise RuntimeError(msg)
        return took, len(body)

    def watch(self, stop: threading.Event) -> None:
        """Hold a line of events and read the overview again at each change, as a page does."""
        line = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        line.request("GET", "/live")
        answer = line.getresponse()
        while not stop.is_set():
            try:
                told = answer.readline()
            except TimeoutError:
                continue
            if told.startswith(b"event: change"):
                self.get("/")


@contextmanager
def dashboard(url: str) -> Iterator[int]:
    """Serve the store's pages; the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = served("web", url, "--port", str(port))
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def addresses(url: str) -> list[str]:
    """Return every page, with a job of each state, and the queries of an operator."""
    jobs = make_app(url)
    found = [f"/jobs?q={quote(query)}" for query in QUERIES]
    for state in (State.QUEUED, State.SUCCEEDED, State.DEAD):
        newest = jobs.store.find(JobFilter(states=(state,)), limit=1)
        found += [f"/jobs/{record.id}" for record in newest]
    jobs.close()
    found += [f"/?span={span}" for span in ("1h", "1d", "7d", "90d")]
    found += ["/tasks/one?task=charge_card", "/tasks/one?task=send_mail"]
    plain = ("/", "/queues", "/jobs", "/dead", "/tasks", "/limits", "/workers", "/store", "/audit")
    return [*plain, *found]


def pages(url: str, rounds: int) -> Figures:
    """Return the figures of each page: first look, median and slowest of the others."""
    asked = addresses(url)
    seen: dict[str, list[float]] = {path: [] for path in asked}
    with dashboard(url) as port:
        browser = Browser(port)
        for _ in range(rounds + 1):
            for path in asked:
                seen[path].append(browser.get(path)[0])
        first_load = sum(browser.get(path)[1] for path in ("/", *ASSETS))
    figures = {
        path: {
            "first_ms": round(first, 1),
            "median_ms": round(statistics.median(rest), 1),
            "most_ms": round(max(rest), 1),
        }
        for path, (first, *rest) in seen.items()
    }
    slowest = max(figures, key=lambda path: figures[path]["median_ms"])
    return {
        "slowest_page": slowest,
        "slowest_median_ms": figures[slowest]["median_ms"],
        "first_load_bytes": first_load,
        "pages": figures,
    }


def drains(url: str, rounds: int) -> Figures:
    """Return the rates of a drain alone and beside an open dashboard, by turns."""
    alone: list[float] = []
    beside: list[float] = []
    for number in range(rounds):
        for watched in (False, True) if number % 2 == 0 else (True, False):
            (beside if watched else alone).append(_drain(url, watched=watched))
    ratios = [b / a for a, b in zip(alone, beside, strict=True)]
    return {
        "alone_jobs_per_s": round(statistics.median(alone)),
        "watched_jobs_per_s": round(statistics.median(beside)),
        "watched_of_alone": round(statistics.median(ratios), 3),
        "ratios": [round(one, 3) for one in ratios],
    }


def _drain(url: str, *, watched: bool) -> float:
    with dashboard(url) as port:
        stop = threading.Event()
        thread = threading.Thread(target=Browser(port).watch, args=(stop,))
        if watched:
            thread.start()
        # Without a trace: a round's would be looked for among all jobs before the next.
        drained = bench("drain", "--no-trace", "--url", url, "--jobs", DRAINED)
        rate = float(drained["jobs_per_s"])
        stop.set()
        if watched:
            thread.join()
    return rate


def main() -> None:
    """Fill, look, drain, print and write."""
    parser = argparse.ArgumentParser(description="The dashboard's pages beside many jobs.")
    parser.add_argument("url")
    parser.add_argument("--jobs", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=10, help="looks at each page")
    parser.add_argument("--drains", type=int, default=5)
    parser.add_argument("--filled", action="store_true")
    parser.add_argument("--rest", type=float, default=60.0, help="seconds after the filling")
    parser.add_argument("--name", help="of the result file; default: the URL's scheme")
    options = parser.parse_args()
    before = machine()
    if not options.filled:
        fill(options.url, options.jobs)
        time.sleep(options.rest)
    result: Figures = {"measure": "dashboard", "jobs": options.jobs, "payload": 200}
    result |= pages(options.url, options.rounds)
    print(json.dumps(result, indent=2), flush=True)
    result["drain"] = drains(options.url, options.drains)
    print(json.dumps(result["drain"]), flush=True)
    result["machine"] = before | {"load_average_after": round(os.getloadavg()[0], 2)}
    name = options.name or urlsplit(options.url).scheme
    file = RESULTS / f"dashboard_{name}.json"
    file.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
