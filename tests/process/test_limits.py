"""Jobs that overrun or are told to stop, while the worker keeps its hands free."""

from __future__ import annotations

import time

import pytest

from process.rig import wait_until
from turnout.job import JobFilter, State

pytestmark = pytest.mark.process


def cancel(rig, job: str) -> int:
    return rig.store.change(JobFilter(ids=(job,)), "cancel")


def test_a_thread_job_past_its_timeout_is_stopped(rig):
    worker = rig.start()
    job = rig.enqueue("spin", "a")
    record = rig.until(job, State.DEAD)
    assert record.error == "turnout.errors.JobTimeout"
    assert "0.3 s" in (record.attempts[-1].message or "")
    assert record.finished_at - record.started_at < 3
    assert rig.ledger.said("end", "a") == []
    assert worker.children()


@pytest.mark.parametrize("task", ["stuck", "deaf"])
def test_a_thread_job_that_cannot_be_stopped_is_fenced_and_replaced(rig, task):
    worker = rig.start(threads=2)
    stuck = [rig.enqueue(task, f"{n}", 6.0) for n in range(2)]
    for job in stuck:
        record = rig.until(job, State.DEAD)
        assert record.error == "turnout.errors.JobTimeout"
    assert rig.ledger.said("end") == [], "they are still at it"
    held = [rig.enqueue("hold", name) for name in "ab"]
    for name in "ab":
        rig.until_said("start", name)
    for name in "ab":
        rig.ledger.release(name)
    for job in held:
        assert rig.until(job).state is State.SUCCEEDED
    for n in range(2):
        # What was raised in a sleeping thread lands when it wakes; careless code runs to its end.
        rig.until_said("end", f"{n}") if task == "deaf" else None
    last = rig.enqueue("note", "last")
    rig.until(last, State.SUCCEEDED)
    assert rig.states(stuck) == {State.DEAD: 2}, "what they did late changed nothing"
    assert worker.stop() == 0


def test_an_async_job_past_its_timeout_is_cancelled(rig):
    rig.start()
    job = rig.enqueue("aslow", "a")
    record = rig.until(job, State.DEAD)
    assert record.error == "turnout.errors.JobTimeout"
    assert record.finished_at - record.started_at < 3


def test_a_queued_job_that_is_cancelled_never_runs(rig):
    job = rig.enqueue("note", "a")
    assert rig.app.job(job).cancel()
    assert rig.start(until_empty=True).wait() == 0
    assert rig.until(job).state is State.CANCELLED
    assert rig.ledger.lines() == []


def test_a_running_async_job_is_cancelled(rig):
    rig.start()
    job = rig.enqueue("ahold", "a")
    rig.until_said("start", "a")
    assert cancel(rig, job) == 1
    record = rig.until(job, State.CANCELLED)
    assert rig.ledger.said("cancelled", "a")
    assert record.reason == "cancelled while it ran"
    assert cancel(rig, job) == 0


def test_a_running_thread_job_sees_that_it_is_cancelled(rig):
    rig.start()
    job = rig.enqueue("hold", "a")
    rig.until_said("start", "a")
    assert cancel(rig, job) == 1
    rig.until_said("cancelled", "a")
    assert rig.until(job).state is State.CANCELLED


def test_an_order_reaches_a_busy_worker_before_its_heartbeat(rig):
    rig.start(heartbeat=60.0, dead_after=180.0, threads=2, children=2)
    jobs = {task: rig.enqueue(task, task) for task in ("hold", "ahold", "iso_hold")}
    for task in jobs:
        rig.until_said("start", task)
    for task, job in jobs.items():
        assert cancel(rig, job) == 1
        rig.until(job, State.CANCELLED)
        assert rig.ledger.said("cancelled", task)


def test_a_cancelled_job_whose_worker_dies_stays_cancelled(rig):
    worker = rig.start(heartbeat=30.0, dead_after=60.0)
    job = rig.enqueue("hold", "a")
    rig.until_said("start", "a")
    worker.suspend()  # or it may hear of the wish before it is killed
    assert cancel(rig, job) == 1
    worker.kill_all()
    rig.start()
    record = rig.until(job, State.CANCELLED)
    assert record.crashes == 1
    assert len(rig.ledger.said("start", "a")) == 1


def test_a_job_that_stops_the_interpreter_ends_its_worker_and_not_the_queue(sqlite_rig):
    """Its C code holds the lock of the interpreter: no thread of the process can do anything."""
    rig = sqlite_rig
    worker = rig.start(frozen_after=2.0, heartbeat=5.0, dead_after=60.0)
    [stuck] = worker.children()
    neighbour = rig.enqueue("hold", "a")
    rig.until_said("start", "a")
    job = rig.enqueue("gil", "b", 120.0)
    rig.until_said("start", "b")
    wait_until(lambda: stuck not in worker.children(), "the stuck process has ended itself")
    rig.until_said("start", "a", 2)
    rig.ledger.release("a")
    for each in (neighbour, job):
        record = rig.until(each, State.SUCCEEDED)
        assert (record.attempt, record.crashes) == (1, 1)
    assert "in hold_the_gil" in worker.log, "it says where it stood"
    assert worker.stop() == 0


def test_a_long_job_is_not_taken_for_stuck(sqlite_rig):
    worker = sqlite_rig.start(frozen_after=2.0)
    pids = worker.children()
    job = sqlite_rig.enqueue("nap", "a", 3.0)
    assert sqlite_rig.until(job, State.SUCCEEDED).crashes == 0
    assert worker.children() == pids


def test_a_queues_limit_holds(rig):
    rig.start(threads=6, queues="slow@2,default")
    slow = [rig.enqueue("hold", f"s{n}", queue="slow") for n in range(4)]
    wait_until(lambda: len(rig.ledger.said("start")) == 2, "two of them run")
    other = [rig.enqueue("hold", f"d{n}") for n in range(4)]
    for n in range(4):
        rig.until_said("start", f"d{n}")
    assert len([one for one in rig.ledger.said("start") if one[1].startswith("s")]) == 2
    assert {s.queue: s.running for s in rig.store.count()} == {"slow": 2, "default": 4}
    began = time.monotonic()
    for n in range(4):
        rig.ledger.release(f"s{n}")
        rig.ledger.release(f"d{n}")
    for job in [*slow, *other]:
        assert rig.until(job).state is State.SUCCEEDED
    assert time.monotonic() - began < 5
