"""arq: one worker on uvloop with 100 jobs at a time, results not kept. It has no bulk call."""

from __future__ import annotations

import asyncio

import uvloop
from arq import Worker, create_pool
from arq.connections import RedisSettings
from tally import TALLY, TEXT, URL, Peer, main

AT_ONCE = 100
SETTINGS = RedisSettings.from_dsn(URL)


async def noop(ctx: dict, text: str) -> None:
    del ctx, text
    TALLY.called()


def fill(jobs: int) -> None:
    async def enqueue() -> None:
        pool = await create_pool(SETTINGS)
        for at in range(0, jobs, AT_ONCE):
            size = min(AT_ONCE, jobs - at)
            await asyncio.gather(*(pool.enqueue_job("noop", TEXT) for _ in range(size)))

    asyncio.run(enqueue())


def work() -> None:
    asyncio.set_event_loop(uvloop.new_event_loop())
    Worker([noop], redis_settings=SETTINGS, max_jobs=AT_ONCE, keep_result=0).run()


if __name__ == "__main__":
    settings = {"max_jobs": AT_ONCE, "keep_result": 0, "loop": "uvloop", "poll_delay": 0.5}
    main(Peer("arq", fill, work, settings))
