"""RQ: its SimpleWorker, which runs jobs in its own process instead of forking for each.

Its page "Workers" names SimpleWorker for this. Jobs are enqueued with `enqueue_many`, results are
not kept.
"""

from __future__ import annotations

from rq import Queue, SimpleWorker
from tally import TALLY, TEXT, URL, Peer, main

import redis

CONNECTION = redis.Redis.from_url(URL)


def noop(text: str) -> None:
    del text
    TALLY.called()


def fill(jobs: int) -> None:
    queue = Queue(connection=CONNECTION)
    for at in range(0, jobs, 1000):
        size = min(1000, jobs - at)
        one = [Queue.prepare_data("rq_redis.noop", (TEXT,), result_ttl=0) for _ in range(size)]
        queue.enqueue_many(one)


def work() -> None:
    queue = Queue(connection=CONNECTION)
    SimpleWorker([queue], connection=CONNECTION).work(logging_level="ERROR")


if __name__ == "__main__":
    main(Peer("rq", fill, work, {"worker": "SimpleWorker", "result_ttl": 0}))
