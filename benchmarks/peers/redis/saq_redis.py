"""SAQ: one worker on uvloop with 100 jobs at a time, results not kept."""

from __future__ import annotations

import asyncio

import uvloop
from saq import Queue, Worker
from tally import TALLY, TEXT, URL, Peer, main

AT_ONCE = 100


async def noop(ctx: dict, *, text: str) -> None:
    del ctx, text
    TALLY.called()


def fill(jobs: int) -> None:
    async def enqueue() -> None:
        queue = Queue.from_url(URL)
        for at in range(0, jobs, AT_ONCE):
            size = min(AT_ONCE, jobs - at)
            calls = (queue.enqueue("noop", text=TEXT, ttl=-1) for _ in range(size))
            await asyncio.gather(*calls)

    asyncio.run(enqueue())


def work() -> None:
    async def run() -> None:
        await Worker(Queue.from_url(URL), functions=[noop], concurrency=AT_ONCE).start()

    uvloop.run(run())


if __name__ == "__main__":
    settings = {"concurrency": AT_ONCE, "ttl": -1, "loop": "uvloop"}
    main(Peer("saq", fill, work, settings))
