"""Dramatiq: one worker process with 10 threads and its default middleware, less Prometheus.

It has no bulk call: each message is sent by itself, as its guide does.
"""

from __future__ import annotations

import threading

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from tally import TALLY, TEXT, URL, Peer, main

THREADS = 10
broker = RedisBroker(url=URL)
dramatiq.set_broker(broker)


@dramatiq.actor
def noop(text: str) -> None:
    del text
    TALLY.called()


def fill(jobs: int) -> None:
    for _ in range(jobs):
        noop.send(TEXT)


def work() -> None:
    dramatiq.Worker(broker, worker_threads=THREADS).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(Peer("dramatiq", fill, work, {"worker_threads": THREADS}))
