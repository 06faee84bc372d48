"""streaQ: one worker with 100 tasks at a time, enqueued with `enqueue_many`, results not kept."""

from __future__ import annotations

import asyncio

from streaq import Worker
from tally import TALLY, TEXT, URL, Peer, main

AT_ONCE = 100
worker = Worker(redis_url=URL, concurrency=AT_ONCE)


@worker.task(name="noop", ttl=0, silent=True)
async def noop(text: str) -> None:
    del text
    TALLY.called()


def fill(jobs: int) -> None:
    async def enqueue() -> None:
        async with worker:
            for at in range(0, jobs, 1000):
                size = min(1000, jobs - at)
                await worker.enqueue_many([noop.enqueue(TEXT) for _ in range(size)])

    asyncio.run(enqueue())


def work() -> None:
    worker.run_sync()


if __name__ == "__main__":
    settings = {"concurrency": AT_ONCE, "ttl": 0, "silent": True}
    main(Peer("streaq", fill, work, settings))
