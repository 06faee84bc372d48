"""A worker process is killed at each step between a lease and its settle: nothing is lost."""

from __future__ import annotations

import pytest

from process.rig import wait_until
from turnout.job import State

pytestmark = pytest.mark.process


@pytest.mark.parametrize(
    ("step", "runs"),
    [
        pytest.param("leased", 1, id="leased, before it runs"),
        pytest.param("settling", 2, id="run, before its outcome travels"),
        pytest.param("settled", 1, id="settled, before the worker hears of it"),
    ],
)
def test_a_job_whose_worker_dies_at_a_step_succeeds_once(rig, step, runs):
    job = rig.enqueue("note", "a")
    rig.start(dies=step)
    record = rig.until(job, State.SUCCEEDED)
    # The store has the outcome a moment before its sender dies.
    wait_until((rig.folder / "died").exists, "the worker's death")
    assert len(rig.ledger.said("note", "a")) == runs
    assert record.attempt == 1, "a death burns no attempt"
    [queue] = [one for one in rig.store.count() if one.queue == record.queue]
    assert (queue.ready, queue.running, queue.succeeded) == (0, 0, 1)
