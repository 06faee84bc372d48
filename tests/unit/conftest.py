"""Applications on both kinds of store, and the means to run their jobs."""

from __future__ import annotations

import pytest

from turnout import Turnout
from turnout.worker.options import WorkerOptions
from turnout.worker.process import WorkerProcess, run_in_thread
from unit.harness import Bench


@pytest.fixture(params=("memory:", "sqlite:///jobs.db"))
def jobs(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = Turnout(request.param)
    yield app
    app.close()


@pytest.fixture
def bench(jobs):
    return Bench(jobs)


@pytest.fixture
def worker(jobs):
    """A real worker in a thread, started when called."""
    started = []

    def start(**options):
        made = WorkerProcess(jobs, WorkerOptions(threads=2, heartbeat=0.2, dead_after=5, **options))
        started.append((made, run_in_thread(made)))

    yield start
    for made, thread in started:
        made.stop()
        thread.join(10)
        assert not thread.is_alive()
