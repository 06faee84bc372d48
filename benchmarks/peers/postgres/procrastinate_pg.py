"""Procrastinate: its asyncio worker with concurrency, on psycopg with its C parts.

Its page "Execute multiple jobs at the same time" raises throughput with `concurrency` and
asynchronous tasks, in its example 30; of 2, 5, 10 and 30 that was the best here. The pool is its
default of 4 connections: 10 and 30 were no faster. Jobs are enqueued as on its page "Batch defer
multiple jobs". Finished jobs are kept, its default.
"""

from __future__ import annotations

import asyncio

import procrastinate
from watch import TEXT, WATCH, Peer, chunks, main

CONCURRENCY = 30


def application(url: str) -> tuple[procrastinate.App, procrastinate.tasks.Task]:
    connector = procrastinate.PsycopgConnector(conninfo=url)
    app = procrastinate.App(connector=connector)

    @app.task(name="noop")
    async def noop(text: str) -> None:
        del text
        WATCH.called()

    return app, noop


def fill(url: str, jobs: int) -> None:
    async def enqueue() -> None:
        app, noop = application(url)
        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            for size in chunks(jobs, 5000):
                await noop.batch_defer_async(*({"text": TEXT} for _ in range(size)))

    asyncio.run(enqueue())


def work(url: str) -> None:
    async def run() -> None:
        app, _ = application(url)
        async with app.open_async():
            await app.run_worker_async(concurrency=CONCURRENCY)

    asyncio.run(run())


PEER = Peer(
    package="procrastinate",
    fill=fill,
    work=work,
    any_left="SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing'))",
    count_done="SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'",
    concurrency=CONCURRENCY,
    settings={"concurrency": CONCURRENCY, "pool": 4, "tasks": "async", "delete_jobs": "never"},
    documentation="How-to: Execute multiple jobs at the same time; Batch defer multiple jobs",
)

if __name__ == "__main__":
    main(PEER)
