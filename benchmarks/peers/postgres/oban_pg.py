"""Oban for Python: one queue with a high limit, on uvloop, as its command line runs it.

Its page "Defining Queues": the limit is how many jobs run at once, higher for jobs that do not
compute. Of 20, 100, 300 and 1,000 the last was the best here, by some percent. Its page "Ready for
Production": a queue needs no connection per running job, the default pool of 10 is enough. The
open-source edition enqueues and acknowledges with one statement a job, a batch of them in one
transaction (its README: bulk inserts and bulk acking are Pro). Finished jobs are kept for a day,
its default. It needs Python 3.12.
"""

from __future__ import annotations

import asyncio

import uvloop
from oban import Oban, worker
from oban.schema import install
from psycopg_pool import AsyncConnectionPool
from watch import TEXT, WATCH, Peer, chunks, main

LIMIT = 1000


@worker(queue="default")
class Noop:
    async def process(self, job: object) -> None:
        del job
        WATCH.called()


def pool(url: str) -> AsyncConnectionPool:
    return AsyncConnectionPool(url, min_size=1, max_size=10, open=False)


def fill(url: str, jobs: int) -> None:
    async def enqueue() -> None:
        async with pool(url) as connections:
            await install(connections)
            oban = Oban(pool=connections)
            for size in chunks(jobs, 1000):
                await oban.enqueue_many(Noop.new({"text": TEXT}) for _ in range(size))

    uvloop.run(enqueue())


def work(url: str) -> None:
    async def run() -> None:
        async with pool(url) as connections, Oban(pool=connections, queues={"default": LIMIT}):
            await asyncio.Event().wait()

    uvloop.run(run())


PEER = Peer(
    package="oban",
    fill=fill,
    work=work,
    any_left="SELECT EXISTS (SELECT FROM oban_jobs WHERE state <> 'completed')",
    count_done="SELECT count(*) FROM oban_jobs WHERE state = 'completed'",
    concurrency=LIMIT,
    settings={"limit": LIMIT, "pool": 10, "loop": "uvloop"},
    documentation="Defining Queues; Ready for Production",
)

if __name__ == "__main__":
    main(PEER)
