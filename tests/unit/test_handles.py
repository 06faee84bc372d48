"""Job handles: what they tell, how they wait, and what a success leaves behind."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from turnout import (
    JobFailed,
    JobNotFound,
    JobTimeout,
    State,
    Turnout,
)
from turnout.job import JobFilter
from unit.harness import Bench


def test_a_handle_tells_and_waits(jobs, worker):
    task = jobs.task(name="t")(lambda n: n * 2)
    worker()
    job = task.enqueue(21)
    assert job.wait(10) == 42
    assert job.refresh().state is State.SUCCEEDED
    assert jobs.job(job.id.upper()).wait(1) == 42
    assert asyncio.run(job.await_result(1)) == 42
    assert asyncio.run(job.arefresh()).result == "42"


def test_results_come_back_as_annotated(jobs, bench):
    @jobs.task(name="t")
    def when() -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC)

    job = when.enqueue()
    bench.drain()
    assert job.wait(1) == datetime(2030, 1, 1, tzinfo=UTC)


def test_waiting_for_a_failure_and_for_too_long(jobs, bench):
    def fail():
        raise ValueError("no such order")

    job = jobs.task(name="t", attempts=1)(fail).enqueue()
    with pytest.raises(JobTimeout, match="still queued"):
        job.wait(0.05)
    with pytest.raises(JobTimeout):
        asyncio.run(job.await_result(0.05))
    bench.drain()
    with pytest.raises(JobFailed, match="dead") as error:
        job.wait(1)
    assert error.value.record.error == "ValueError"


def test_a_job_that_was_never_recorded(jobs):
    task = jobs.task(name="t", unique=True)(lambda: None)
    task.enqueue()
    refused = task.enqueue()
    for verb in (refused.refresh, lambda: refused.wait(1)):
        with pytest.raises(JobNotFound, match="refused at its enqueue"):
            verb()
    assert refused.cancel() is False


def test_cancelling_a_queued_job(jobs, bench):
    task = jobs.task(name="t", unique=True)(lambda: pytest.fail("it ran"))
    job = task.enqueue()
    assert job.cancel() is True
    assert job.cancel() is False
    assert bench.drain() == 0
    assert job.refresh().state is State.CANCELLED
    assert task.enqueue().enqueued, "its key is free"


def test_a_result_over_the_cap_is_not_kept(tmp_path):
    app = Turnout("memory:", max_result=10)
    task = app.task(name="t")(lambda n: "x" * n)
    fits, over = task.enqueue(8), task.enqueue(9)
    Bench(app).drain()
    assert fits.wait(1) == "x" * 8
    assert over.wait(1) is None
    assert "limit is 10" in over.refresh().reason


def test_keep_0_leaves_no_trace(jobs, bench):
    job = jobs.task(name="t", keep=0)(lambda: None).enqueue()
    bench.drain()
    with pytest.raises(JobNotFound):
        job.refresh()
    assert sum(stats.succeeded for stats in jobs.store.count()) == 0


def test_keep_by_queue(tmp_path):
    app = Turnout("memory:", keep={"mail": 0, "*": 60})
    task = app.task(name="t")(lambda: None)
    gone, kept = task.using(queue="mail").enqueue(), task.enqueue()
    Bench(app).drain()
    assert [r.id for r in app.store.find(JobFilter())] == [kept.id]
    assert gone.enqueued
