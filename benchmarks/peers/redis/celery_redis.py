"""Celery: its worker with a pool of 10 threads, acknowledging early, results ignored.

Its page "Optimizing" raises `worker_prefetch_multiplier` for many short tasks (64 or 128) and its
page "Tasks" ignores results nobody reads. It has no bulk call: one producer sends them all.
"""

from __future__ import annotations

from celery import Celery
from tally import TALLY, TEXT, URL, Peer, main

THREADS, PREFETCH = 10, 128
app = Celery("noop", broker=URL)
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=PREFETCH)
app.conf.worker_redirect_stdouts = False  # the result is printed


@app.task(name="noop")
def noop(text: str) -> None:
    del text
    TALLY.called()


def fill(jobs: int) -> None:
    with app.producer_pool.acquire(block=True) as producer:
        for _ in range(jobs):
            noop.apply_async((TEXT,), producer=producer)


def work() -> None:
    quiet = ["--without-gossip", "--without-mingle", "--loglevel=ERROR"]
    app.worker_main(["worker", "--pool=threads", f"--concurrency={THREADS}", *quiet])


SETTINGS = {"pool": "threads", "concurrency": THREADS, "worker_prefetch_multiplier": PREFETCH}

if __name__ == "__main__":
    main(Peer("celery", fill, work, SETTINGS))
