"""An outage of a real service behind real workers: who names the dependency does not storm."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from process.rig import wait_until
from turnout.job import JobFilter, State

pytestmark = pytest.mark.process
OUTAGE, JOBS, ARRIVE = 6.0, 400, 10.0


@pytest.fixture
def service(tmp_path):
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("service.py")), str(tmp_path)]
    )
    wait_until((tmp_path / "port").exists)
    yield tmp_path / "down"
    process.kill()
    process.wait(10)


def attempts_through_an_outage(rig, down: Path, task: str) -> tuple[float, float]:
    """Return the attempts a job, and the seconds from the end of the outage to the last success."""
    rig.start(processes=2, threads=16)
    make = rig.app.tasks[task]
    for n in range(JOBS):
        make.using(delay=1 + n * ARRIVE / JOBS).enqueue(str(n))
    succeeded = JobFilter(states=(State.SUCCEEDED,), task=task)
    wait_until(lambda: len(rig.store.find(succeeded, limit=JOBS)) > JOBS / 10)
    down.touch()
    ends = time.monotonic() + OUTAGE
    wait_until(lambda: time.monotonic() > ends)
    down.unlink()
    wait_until(lambda: len(rig.store.find(succeeded, limit=JOBS)) == JOBS, timeout=3 * OUTAGE)
    seconds = time.monotonic() - ends
    records = rig.store.find(succeeded, limit=JOBS)
    return sum(record.attempt for record in records) / JOBS, seconds


def test_a_named_dependency_recovers_with_few_attempts(sqlite_rig, service):
    attempts, seconds = attempts_through_an_outage(sqlite_rig, service, "careful")
    assert attempts < 1.5, f"and {seconds:.1f} s"
    sqlite_rig.workers[0].until_logged("its breaker opened")
    sqlite_rig.workers[0].until_logged("its breaker closed")
