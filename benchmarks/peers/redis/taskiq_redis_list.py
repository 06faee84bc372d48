"""TaskIQ: its receiver on uvloop in one process, on taskiq-redis' list broker, no result backend.

A list broker forgets a job as it is taken; its stream broker acknowledges, and is slower.
"""

from __future__ import annotations

import asyncio

import uvloop
from tally import TALLY, TEXT, URL, Peer, main
from taskiq.api import run_receiver_task
from taskiq_redis import ListQueueBroker

AT_ONCE = 100
broker = ListQueueBroker(URL)


@broker.task(task_name="noop")
async def noop(text: str) -> None:
    del text
    TALLY.called()


def fill(jobs: int) -> None:
    async def enqueue() -> None:
        await broker.startup()
        for at in range(0, jobs, AT_ONCE):
            await asyncio.gather(*(noop.kiq(TEXT) for _ in range(min(AT_ONCE, jobs - at))))

    asyncio.run(enqueue())


def work() -> None:
    uvloop.run(run_receiver_task(broker, run_startup=True, max_async_tasks=AT_ONCE))


if __name__ == "__main__":
    settings = {"broker": "ListQueueBroker", "max_async_tasks": AT_ONCE, "loop": "uvloop"}
    main(Peer("taskiq", fill, work, settings))
