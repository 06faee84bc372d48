"""The demo: the same shop twice, then everything that can go wrong. Ends in under two minutes.

    python -m examples.orders.demo [--json FILE] [--inline N] [--orders N]

Exit code 0 says that every claim held; each is computed from the ledgers of the services.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from turnout.job import JobFilter, JobRecord, State

from . import claims, database, report
from .buyer import Followed, buy
from .customers import Basket, Customers, Visit, baskets
from .processes import Stage, until
from .report import say
from .services import DECLINED_CARD, REFUSED_ADDRESS, SERVICES
from .settings import WEB_THREADS

LIMIT = 115  # seconds for all of it
WORKER_THREADS = 50
CALM = Customers(WEB_THREADS, pause=1.5)
RUSH = Customers(WEB_THREADS)
FIGURES = {"p50_ms": "page p50, ms", "p95_ms": "page p95, ms", "orders_per_s": "orders a second"}
HEAD = ["calls in the request", "jobs", "better by"]


@dataclass
class Story:
    """What has happened so far."""

    stage: Stage
    statuses: list[int] = field(default_factory=list)
    enqueued: int = 0
    interrupted: list[str] = field(default_factory=list)
    followed: Followed | None = None
    figures: dict[str, Any] = field(default_factory=dict)

    def order(self, page: str, orders: list[Basket], customers: Customers) -> Visit:
        """Let customers order, and remember what they were answered."""
        visit = customers.order(self.stage.web, page, orders)
        self.statuses += visit.statuses
        self.enqueued += len(orders) if page == "/orders" else 0
        return visit


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(LIMIT)
    begin = time.monotonic()
    with temporary_folder() as folder, Stage(Path(folder)) as stage:
        story = Story(stage)
        try:
            verdicts = tell(story, options)
        except KeyboardInterrupt:
            say("\nInterrupted: stopping the processes.")
            return 130
        except Exception as error:  # noqa: BLE001 - whatever it is, show what the processes said
            say(f"\nFAILED: {error!r}\n{stage.logs()}")
            return 1
    story.figures["seconds"] = round(time.monotonic() - begin, 1)
    finish(story, verdicts, options.json)
    return 0 if all(claim.holds for claim in verdicts) else 1


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="turnout-orders-", ignore_cleanup_errors=True)


def tell(story: Story, options: argparse.Namespace) -> list[claims.Claim]:
    set_up(story.stage)
    compare(story, options.inline, options.orders)
    follow(story)
    trouble(story)
    kill(story)
    say("Waiting for the last job ...")
    until("all jobs to end", lambda: unfinished(story.stage) == 0, 60)
    return claims.judge(evidence(story))


def set_up(stage: Stage) -> None:
    say("Starting five third parties, a web server and a worker on loopback ...")
    stage.start_services()
    stage.start_web()
    stage.start_worker(WORKER_THREADS)


def compare(story: Story, inline: int, orders: int) -> None:
    """Measure the page with the calls in the request, and with jobs for a busy worker."""
    say(f"{2 * inline} orders with all five calls in the request ...")
    slow = measure(story, "/orders/inline", inline)
    say(f"{2 * orders} orders with five jobs each, while the worker runs them ...")
    begin = time.monotonic()
    fast = measure(story, "/orders", orders)
    until("these jobs to end", lambda: unfinished(story.stage) == 0, 60)
    seconds = time.monotonic() - begin
    better = {
        "p50_ms": slow["p50_ms"] / fast["p50_ms"],
        "p95_ms": slow["p95_ms"] / fast["p95_ms"],
        "orders_per_s": fast["orders_per_s"] / slow["orders_per_s"],
    }
    story.figures |= {"inline": slow, "jobs": fast, "better_by": rounded(better)}
    story.figures["jobs_done_s"] = round(seconds, 2)
    show_comparison(slow, fast, better)
    say(f"All {10 * orders} jobs were done {seconds:.1f} s after the first of these orders.")


def measure(story: Story, page: str, orders: int) -> dict[str, float]:
    """Let customers come at an easy pace for the page's time, and then all they can."""
    calm = story.order(page, baskets(orders), CALM)
    rush = story.order(page, baskets(orders), RUSH)
    return {
        "orders": 2 * orders,
        "p50_ms": round(calm.percentile(0.5), 2),
        "p95_ms": round(calm.percentile(0.95), 2),
        "orders_per_s": round(rush.per_second, 2),
        "rush_p95_ms": round(rush.percentile(0.95), 2),
    }


def show_comparison(
    slow: dict[str, float], fast: dict[str, float], better: dict[str, float]
) -> None:
    rows = [
        [name, f"{slow[key]:,.1f}", f"{fast[key]:,.1f}", f"{better[key]:,.0f} x"]
        for key, name in FIGURES.items()
    ]
    report.table(f"The order page on {WEB_THREADS} web threads", ["", *HEAD], rows)
    say(f"Page times: {CALM}.\nOrders a second: {RUSH}.\nAll on one machine, the worker too.")


def rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(figure, 1) for name, figure in figures.items()}


def follow(story: Story) -> None:
    """Let a buyer stay on the page until it says that the payment is confirmed."""
    say("\nA buyer stays on the page, which listens to the status of the payment ...")
    story.followed = seen = buy(story.stage.web, *baskets(1))
    story.statuses.append(seen.status)
    story.enqueued += 1
    story.figures["buyer"] = {"answered_ms": round(1000 * seen.answered, 1), "told": seen.told}
    for state, at in [("placed", seen.answered), *seen.told]:
        say(f"  {at:6.2f} s  {state}")


def trouble(story: Story) -> None:
    """Take orders while four of the five third parties misbehave."""
    say("\nTrouble: mailing list down, chat answers 429, analytics hangs, SMTP fails, a bad card.")
    stage = story.stage
    stage.control("mailing_list", mode="fail")
    stage.control("chat", mode="rate_limit", retry_after=1, times=10)
    stage.control("analytics", mode="hang", times=1)
    stage.control("smtp", mode="fail", times=3)
    bad = baskets(1, card=DECLINED_CARD) + baskets(1, email=REFUSED_ADDRESS)
    visit = story.order("/orders", baskets(18) + bad, CALM)
    say(f"  20 orders were answered all the same, p95 {visit.percentile(0.95):.1f} ms.")
    until("calls to the mailing list to fail", lambda: len(failures(stage)) >= 40)
    stage.control("mailing_list", mode="ok")
    say(f"  The mailing list is back after {len(failures(stage))} failed calls.")


def failures(stage: Stage) -> list[Any]:
    requests = stage.seen_by("mailing_list")["requests"]
    return [ask for ask in requests if ask["met"] == "fail"]


def kill(story: Story) -> None:
    """Kill the worker process while cards are being charged."""
    stage = story.stage
    # New mails are 600 ms from being accepted, so this kill leaves none in doubt. What a kill in
    # that very instant would do is said at `send_confirmation` in jobs.py.
    until("earlier mails to be sent", lambda: not unsent_mails(stage))
    story.order("/orders", baskets(10), RUSH)
    until("charges in flight", lambda: in_flight(stage))
    victim = running_charge(stage)
    story.interrupted = in_flight(stage)
    killed = stage.kill_worker(victim)
    say(f"Killed the worker process with -9, {len(story.interrupted)} charges were in flight.")
    until("the charges to be resumed", lambda: resumed(story), 60)
    recovery = max(last_asked(stage, key) for key in story.interrupted) - killed
    story.figures["recovery_s"] = round(recovery, 2)
    say(f"  All of them ran again {recovery:.2f} s after the kill.")


def unsent_mails(stage: Stage) -> list[JobRecord]:
    task = "examples.orders.jobs.send_confirmation"
    unsent = JobFilter(states=(State.QUEUED, State.RUNNING), task=task)
    return stage.jobs.store.find(unsent, limit=1)


def in_flight(stage: Stage) -> list[str]:
    """Return the keys of charges that are made, while the worker does not know it yet."""
    charges = stage.seen_by("payment")["ledger"]
    return [charge["key"] for charge in charges if charge["asked"] > charge["answered"]]


def running_charge(stage: Stage) -> str:
    running = JobFilter(states=(State.RUNNING,), queue="critical")
    (job,) = until("a running charge", lambda: stage.jobs.store.find(running, limit=1))
    return str(job.worker)


def resumed(story: Story) -> bool:
    charges = story.stage.seen_by("payment")["ledger"]
    asked = {charge["key"]: charge["asked"] for charge in charges}
    return all(asked[key] > 1 for key in story.interrupted)


def last_asked(stage: Stage, key: str) -> float:
    requests = stage.seen_by("payment")["requests"]
    return max(float(ask["at"]) for ask in requests if ask["about"] == key)


def unfinished(stage: Stage) -> int:
    queues = stage.jobs.store.count()
    return sum(queue.ready + queue.scheduled + queue.running for queue in queues)


def evidence(story: Story) -> claims.Evidence:
    stage, ends = story.stage, ("succeeded", "discarded", "dead", "cancelled")
    queues = stage.jobs.store.count()
    dead = stage.jobs.store.find(JobFilter(states=(State.DEAD,)))
    jobs = {end: sum(getattr(queue, end) for queue in queues) for end in ends}
    story.figures["ended"] = jobs
    return claims.Evidence(
        statuses=story.statuses,
        orders=database.all_orders(str(stage.database)),
        enqueued=story.enqueued,
        seen={name: stage.seen_by(name) for name in SERVICES},
        jobs=jobs,
        dead=[job.task.rpartition(".")[2] for job in dead],
        interrupted=story.interrupted,
        faster=story.figures["better_by"],
        followed=story.followed,
    )


def finish(story: Story, verdicts: list[claims.Claim], path: Path | None) -> None:
    rows = [[it.says, "ok" if it.holds else "FAILED", it.evidence] for it in verdicts]
    report.table("What was claimed", ["claim", "", "evidence"], rows)
    story.figures["claims"] = [asdict(claim) for claim in verdicts]
    story.figures["web_threads"] = WEB_THREADS
    story.figures["worker_threads"] = WORKER_THREADS
    story.figures["machine"] = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    if path:
        path.write_text(json.dumps(story.figures, indent=2) + "\n")
    say(f"\n{story.figures['seconds']} s in all.")


def out_of_time(*_: object) -> None:
    msg = f"the demo took longer than {LIMIT} s"
    raise TimeoutError(msg)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="An order page, with and without jobs.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--inline", type=int, default=24, help="inline orders, at either pace")
    parser.add_argument("--orders", type=int, default=150, help="orders with jobs, at either pace")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
