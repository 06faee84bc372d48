"""Tasks that will not stop at their timeout: decided without them, and the worker goes on."""

from __future__ import annotations

import asyncio
import threading

import pytest

from turnout import JobFailed, JobTimeout, retry_on


def test_a_coroutine_that_swallows_its_cancellation(jobs, worker):
    release = threading.Event()

    @jobs.task(name="stubborn", timeout=0.1, attempts=1)
    async def stubborn() -> None:
        while not release.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue

    @jobs.task(name="next")
    async def following() -> int:
        return 7

    worker(concurrency=1)
    try:
        with pytest.raises(JobFailed, match="longer than its timeout of"):
            stubborn.enqueue().wait(20)
        assert following.enqueue().wait(20) == 7
    finally:
        release.set()


def test_a_thread_that_swallows_its_interruption(jobs, worker):
    release = threading.Event()

    @jobs.task(name="stubborn", timeout=0.1, attempts=1)
    def stubborn() -> None:
        release.wait(30)  # in C code until then: nothing can be raised in it

    worker()
    try:
        with pytest.raises(JobFailed, match="longer than its timeout of"):
            stubborn.enqueue().wait(20)
    finally:
        release.set()


def test_a_then_that_hangs_stops_neither_the_clock_nor_other_timeouts(jobs, worker):
    release = threading.Event()

    def hang(_job: object, _error: BaseException) -> None:
        release.wait(30)

    @jobs.task(name="hanging", timeout=0.1, on_error=[retry_on(JobTimeout, attempts=1, then=hang)])
    def hanging() -> None:
        release.wait(30)

    @jobs.task(name="stubborn", timeout=0.1, attempts=1)
    def stubborn() -> None:
        release.wait(30)

    worker()
    try:
        first = hanging.enqueue()
        with pytest.raises(JobFailed, match="longer than its timeout of"):
            stubborn.using(delay=1.5).enqueue().wait(20)
        assert first.refresh().state == "running", "its rule has not come to an end"
        release.set()
        with pytest.raises(JobFailed):
            first.wait(20)
    finally:
        release.set()
