"""Tasks that will not stop at their timeout: decided without them, and the worker goes on."""

from __future__ import annotations

import asyncio
import threading

import pytest

from turnout import JobFailed


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
