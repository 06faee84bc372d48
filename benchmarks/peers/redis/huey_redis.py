"""Huey: its consumer with 10 threads, results not stored. It has no bulk call."""

from __future__ import annotations

from huey import RedisHuey
from tally import TALLY, TEXT, URL, Peer, main

THREADS = 10
huey = RedisHuey("noop", url=URL, results=False)


@huey.task()
def noop(text: str) -> None:
    del text
    TALLY.called()


def fill(jobs: int) -> None:
    for _ in range(jobs):
        noop(TEXT)


def work() -> None:
    huey.create_consumer(workers=THREADS, worker_type="thread", periodic=False).run()


if __name__ == "__main__":
    settings = {"workers": THREADS, "worker_type": "thread", "results": False}
    main(Peer("huey", fill, work, settings))
