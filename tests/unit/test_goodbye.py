"""A worker that stops says goodbye only when what it has finished has arrived."""

from __future__ import annotations

import threading

import pytest

from turnout.errors import StoreUnavailable
from turnout.job import State
from turnout.worker.options import WorkerOptions
from turnout.worker.process import WorkerProcess, run_in_thread


def test_an_outcome_on_its_way_arrives_before_the_goodbye(jobs):
    travelling, gone = threading.Event(), threading.Event()
    store = jobs.store
    exchange, heartbeat = store.exchange, store.heartbeat

    def slow_exchange(epoch, outcomes, *rest, **more):
        if outcomes and not travelling.is_set():
            travelling.set()
            gone.wait(1.0)  # a goodbye that does not wait for us overtakes us here
        return exchange(epoch, outcomes, *rest, **more)

    def told_heartbeat(info, **more):
        answer = heartbeat(info, **more)
        if info.state == "stopped":
            gone.set()
        return answer

    store.exchange, store.heartbeat = slow_exchange, told_heartbeat

    @jobs.task(name="quick")
    def quick() -> None: ...

    job = quick.enqueue()
    made = WorkerProcess(jobs, WorkerOptions(threads=2))
    thread = run_in_thread(made)
    assert travelling.wait(10)
    made.stop()
    thread.join(10)
    assert job.refresh().state is State.SUCCEEDED
    assert job.refresh().attempt == 1


def test_outcomes_that_the_store_refused_for_a_moment_arrive_before_the_goodbye(jobs):
    store = jobs.store
    exchange, refused = store.exchange, []

    def failing_exchange(epoch, outcomes, *rest, **more):
        if outcomes and len(refused) < 3:
            refused.append(len(outcomes))
            made.stop(hurry=False)
            raise StoreUnavailable("its connections were cut")
        return exchange(epoch, outcomes, *rest, **more)

    store.exchange = failing_exchange

    @jobs.task(name="quick")
    def quick() -> None: ...

    job = quick.enqueue()
    made = WorkerProcess(jobs, WorkerOptions(threads=2))
    thread = run_in_thread(made)
    thread.join(20)
    assert not thread.is_alive()
    assert len(refused) == 3
    record = job.refresh()
    assert (record.state, record.attempt) == (State.SUCCEEDED, 1)


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_jobs_that_a_trip_brings_into_a_stop_go_back_unrun(jobs, kind):
    brought, stopped = threading.Event(), threading.Event()
    store, ran = jobs.store, []
    exchange = store.exchange

    def late_exchange(*given, **more):
        answer = exchange(*given, **more)
        if answer.leased:
            brought.set()
            stopped.wait(10)
        return answer

    store.exchange = late_exchange

    @jobs.task(name="def")
    def plain() -> None:
        ran.append("def")

    @jobs.task(name="async def")
    async def coroutine() -> None:
        ran.append("async def")

    job = jobs.tasks[kind].enqueue()
    made = WorkerProcess(jobs, WorkerOptions(threads=2))
    thread = run_in_thread(made)
    assert brought.wait(10)
    made.stop()
    threading.Timer(0.2, stopped.set).start()
    thread.join(10)
    assert ran == []
    record = job.refresh()
    assert (record.state, record.attempt) == (State.QUEUED, 0)
