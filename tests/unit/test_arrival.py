"""A worker that starts while its store is away."""

from __future__ import annotations

import os
import threading

import pytest

from turnout.errors import StoreUnavailable
from turnout.job import State
from turnout.worker.options import WorkerOptions
from turnout.worker.process import WorkerProcess


@pytest.fixture
def away(jobs):
    """A store that cannot be reached; `calls` tells how often it was tried."""

    class Away:
        def __init__(self) -> None:
            self.calls = 0
            self.for_calls = 0  # so many
            self.tried = threading.Event()

        def setup(self) -> None:
            self.calls += 1
            if self.calls <= self.for_calls:
                self.tried.set()
                raise StoreUnavailable("nobody listens there")
            setup()

    made, setup = Away(), jobs.store.setup
    jobs.store.setup = made.setup
    return made


def started(made: WorkerProcess) -> tuple[threading.Thread, list[int]]:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(made.run()))
    thread.start()
    return thread, codes


def test_one_of_a_supervisor_waits_and_works_once_it_is_back(jobs, away):
    @jobs.task(name="quick")
    def quick() -> None: ...

    job = quick.enqueue()
    before = away.calls
    away.for_calls = before + 3
    made = WorkerProcess(jobs, WorkerOptions(threads=1, until_empty=True), parent=os.getppid())
    thread, codes = started(made)
    thread.join(30)
    assert codes == [0]
    assert away.calls >= before + 4
    assert job.refresh().state is State.SUCCEEDED


def test_it_can_be_stopped_while_it_waits(jobs, away):
    away.for_calls = 1_000_000
    made = WorkerProcess(jobs, WorkerOptions(threads=1), parent=os.getppid())
    thread, codes = started(made)
    assert away.tried.wait(10)
    made.stop()
    thread.join(10)
    assert codes == [0]


def test_one_inside_another_program_says_so_at_once(jobs, away):
    away.for_calls = 1_000_000
    with pytest.raises(StoreUnavailable, match="nobody listens"):
        WorkerProcess(jobs, WorkerOptions(threads=1)).run()
    assert away.calls == 1
