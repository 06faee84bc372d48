"""PgQueuer: as its own drain benchmark, with the larger batch that its tuning page advises.

Its page "Benchmarks" and its tools/benchmark.py: asyncpg (1.7 times psycopg, it says), uvloop,
several dequeue tasks in one process with a connection each. There they are 5 with a batch of 10;
its page "Performance Tuning" advises a larger `batch_size` for short jobs, and of 1, 2 and 5 tasks
with 10 to 1,000 jobs, 2 with 250 were the best here (5 with 10: a third of that). The same page:
direct connections and no pool, `pgq autovac` after the installation. Durability "durable", its
default: all tables are logged. It deletes finished jobs and keeps a line for each in its log table.
"""

from __future__ import annotations

import asyncio

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from watch import TEXT, WATCH, Peer, chunks, main

MANAGERS = 2
BATCH = 250


async def driver(url: str) -> AsyncpgDriver:
    return AsyncpgDriver(await asyncpg.connect(url))


def fill(url: str, jobs: int) -> None:
    payload = f'{{"text":"{TEXT}"}}'.encode()

    async def enqueue() -> None:
        queries = Queries(await driver(url))
        await queries.install()
        await queries.optimize_autovacuum()
        for size in chunks(jobs, 10_000):
            await queries.enqueue(["noop"] * size, [payload] * size, [0] * size)

    uvloop.run(enqueue())


def work(url: str) -> None:
    async def consume() -> None:
        manager = PgQueuer(await driver(url))

        @manager.entrypoint("noop")
        async def noop(job: Job) -> None:
            del job
            WATCH.called()

        await manager.run(batch_size=BATCH)

    async def run() -> None:
        await asyncio.gather(*(consume() for _ in range(MANAGERS)))

    uvloop.run(run())


PEER = Peer(
    package="pgqueuer",
    fill=fill,
    work=work,
    any_left="SELECT EXISTS (SELECT FROM pgqueuer)",
    count_done="SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'",
    concurrency=MANAGERS,
    settings={
        "driver": "asyncpg",
        "loop": "uvloop",
        "dequeue_tasks": MANAGERS,
        "batch_size": BATCH,
        "durability": "durable",
        "autovacuum": "pgq autovac",
    },
    documentation="Benchmarks (tools/benchmark.py --strategy drain); Performance Tuning",
)

if __name__ == "__main__":
    main(PEER)
