"""The application under faults: jobs of every kind. Each is noted by the ledger's middleware.

quick      does nothing                 once       holds a unique key until it finishes
slow       takes a while                later      enqueued with a delay
flaky      fails twice, then succeeds   aquick     a coroutine that waits
doomed     fails until it is dead       charge     writes an effect in its own transaction,
dropped    gives up on purpose                     and enqueues a receipt in the same
poison     ends its process each time   booth      two at once at each of a few booths,
                                        abooth     a coroutine at the same booths
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

from turnout import Discard, Turnout, concurrency, current_job, exactly
from turnout.testing.chaos.ledger import Ledger

EFFECTS = "chaos_effect"
KEYS = 20  # that the unique jobs share
BOOTHS, PLACES = 2, 2  # keys of the limit, and how many jobs each of them lets run at once
KINDS = {
    "quick": {"succeeded"},
    "slow": {"succeeded"},
    "flaky": {"succeeded"},
    "doomed": {"dead"},
    "dropped": {"discarded"},
    "poison": {"dead"},
    "once": {"succeeded"},
    "later": {"succeeded"},
    "aquick": {"succeeded"},
    "charge": {"succeeded"},
    "receipt": {"succeeded"},
    "booth": {"succeeded"},
    "abooth": {"succeeded"},
}
"""Kind -> the final states that its jobs may reach; dead by quarantine apart."""

WEIGHTS = {
    "quick": 40, "slow": 6, "flaky": 8, "doomed": 3, "dropped": 3, "once": 10, "later": 8,
    "aquick": 12, "charge": 10, "booth": 5, "abooth": 4, "poison": 0.1,
}  # fmt: skip
SELDOM = {"slow", "booth", "abooth", "poison"}
OFTEN = 60.0
"""Jobs that take long, wait for each other or end their process: no more of them a second than
where an enqueuer enqueues that many jobs a second, or the mix would bound the rate."""
WITHOUT_TRANSACTIONS = {"charge", "receipt"}


def make_app(url: str, ledger: Ledger, *, keep: float = 3600.0) -> Turnout:
    """Return the application over a store."""
    jobs = Turnout(url, keep=keep)
    _steady(jobs)
    _limited(jobs)
    _failing(jobs, ledger)
    if not url.startswith("redis"):
        _transactional(jobs)
    return jobs


def _steady(jobs: Turnout) -> None:
    @jobs.task(name="quick")
    def quick(n: int) -> None:
        del n

    @jobs.task(name="slow")
    def slow(n: int) -> None:
        time.sleep(random.Random(n).uniform(0.1, 0.8))

    @jobs.task(name="once", unique=True)
    def once(key: int) -> None:
        del key
        time.sleep(0.02)

    @jobs.task(name="later")
    def later(n: int) -> None:
        del n

    @jobs.task(name="aquick", queue="async")
    async def aquick(n: int) -> None:
        await asyncio.sleep(random.Random(n).uniform(0.0, 0.1))


def _limited(jobs: Turnout) -> None:
    # What a killed worker held is free once its lease is over, not after a lease of its own.
    limit = concurrency("booth", PLACES, by="booth", lease=1.0)

    @jobs.task(name="booth", limit=limit)
    def booth(booth: int, n: int) -> None:
        del booth
        time.sleep(random.Random(n).uniform(0.02, 0.3))

    @jobs.task(name="abooth", queue="async", limit=limit)
    async def abooth(booth: int, n: int) -> None:
        del booth
        await asyncio.sleep(random.Random(n).uniform(0.02, 0.3))


def _failing(jobs: Turnout, ledger: Ledger) -> None:
    @jobs.task(name="flaky", attempts=3, wait=exactly(0.1))
    def flaky(n: int) -> None:
        if current_job().attempt < 3:
            msg = f"{n} is not there yet"
            raise ConnectionError(msg)

    @jobs.task(name="doomed", attempts=2, wait=exactly(0.1))
    def doomed(n: int) -> None:
        raise ValueError(n)

    @jobs.task(name="dropped")
    def dropped(n: int) -> None:
        raise Discard(f"nobody needs {n}")

    @jobs.task(name="poison", queue="poison")
    def poison(n: int) -> None:
        ledger.fault("poison", [os.getpid()], time.monotonic())
        os._exit(n % 3)


def _transactional(jobs: Turnout) -> None:
    @jobs.task(name="receipt")
    def receipt(order: str) -> None:
        del order

    # A broken connection must not use up the attempts: that a commit is lost is the rig's doing.
    @jobs.task(name="charge", transactional=True, attempts=200, wait=exactly(0.1))
    def charge(n: int) -> None:
        del n
        job = current_job()
        sent = receipt.enqueue(job.id)
        cursor = job.connection.cursor()
        cursor.execute(f"INSERT INTO {EFFECTS} (job, receipt) VALUES ('{job.id}', '{sent.id}')")
        cursor.close()


def weights(rate: float, *, transactions: bool) -> dict[str, float]:
    """Return how often each kind comes, where an enqueuer enqueues so many jobs a second."""
    few = min(1.0, OFTEN / rate)
    return {
        kind: weight * few if kind in SELDOM else weight
        for kind, weight in WEIGHTS.items()
        if transactions or kind not in WITHOUT_TRANSACTIONS
    }


def app_file(folder: Path, url: str, keep: float) -> Path:
    """Write the module by which a worker finds this application; return its path."""
    path = folder / "chaos_shop.py"
    lines = [
        "import sys",
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})",
        "from pathlib import Path",
        "from chaos.shop import make_app",
        "from turnout.testing.chaos.ledger import Ledger",
        f"jobs = make_app({url!r}, Ledger(Path({str(folder / 'ledger')!r})), keep={keep})",
    ]
    path.write_text("\n".join(lines))
    return path
