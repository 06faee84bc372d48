"""Chancy: the asyncio executor and a queue that polls eagerly.

Its reference of `AsyncExecutor`: for many jobs at once, without the cost of threads and processes.
Its reference of `Queue`: `eager_polling` asks for new jobs as soon as one has finished, for work
continuously available; without it a queue fetches `concurrency` jobs every polling interval. The
executor's default concurrency is 100; of 20, 100, 300 and 1,000 the last was the best here, by a
third. It records finished jobs once a second in one batch; the wait for the last batch is in the
clock, as the jobs are not done before. They are kept, its default. "Jobs" has `push_many`.
"""

from __future__ import annotations

import asyncio
import logging

from chancy import Chancy, Queue, Worker, job
from watch import TEXT, WATCH, Peer, main

CONCURRENCY = 1000


@job(queue="default")
async def noop(*, text: str) -> None:
    del text
    WATCH.called()


def application(url: str) -> Chancy:
    log = logging.getLogger("chancy")
    log.setLevel(logging.ERROR)
    return Chancy(url, log=log)


def fill(url: str, jobs: int) -> None:
    async def enqueue() -> None:
        async with application(url) as chancy:
            await chancy.migrate()
            queue = Queue(
                "default",
                concurrency=CONCURRENCY,
                executor=Chancy.Executor.Async,
                eager_polling=True,
            )
            await chancy.declare(queue)
            one = noop.job.with_kwargs(text=TEXT)
            async for _ in chancy.push_many([one] * jobs):
                pass

    asyncio.run(enqueue())


def work(url: str) -> None:
    async def run() -> None:
        async with application(url) as chancy, Worker(chancy) as worker:
            await worker.wait_for_shutdown()

    asyncio.run(run())


PEER = Peer(
    package="chancy",
    fill=fill,
    work=work,
    any_left="SELECT EXISTS (SELECT FROM chancy_jobs WHERE state <> 'succeeded')",
    count_done="SELECT count(*) FROM chancy_jobs WHERE state = 'succeeded'",
    concurrency=CONCURRENCY,
    settings={"executor": "async", "concurrency": CONCURRENCY, "eager_polling": True},
    documentation="Reference: Queue, AsyncExecutor; How-to: Jobs",
)

if __name__ == "__main__":
    main(PEER)
