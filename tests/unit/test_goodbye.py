"""A worker that stops says goodbye only when what it has finished has arrived."""

from __future__ import annotations

import threading

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
