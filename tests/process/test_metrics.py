"""Kept metrics with real workers: they outlive the worker, a store that is away, and a kill."""

from __future__ import annotations

import signal

import pytest

from process.rig import wait_until
from turnout.job import State
from turnout.metrics import EVER

pytestmark = pytest.mark.process


def counts(rig) -> dict[str, dict[str, int]]:
    return {one.task: one.outcomes for one in rig.store.metrics(EVER)}


def test_what_ran_is_counted_when_the_worker_has_stopped(rig):
    worker = rig.start()
    ids = [rig.enqueue("note", str(n)) for n in range(50)]
    for one in ids:
        rig.until(one, State.SUCCEEDED)
    assert worker.stop() == 0
    [row] = rig.store.metrics(EVER)
    assert row.outcomes == {"succeeded": 50}
    assert row.run.n == row.wait.n == 50
    assert row.wait.quantile(0.99) < 60


def test_a_running_worker_sends_with_its_heartbeats_and_a_kill_counts_as_a_crash(rig):
    worker = rig.start(heartbeat=0.2, dead_after=5.0)
    done, held = rig.enqueue("note", "a"), rig.enqueue("hold", "b")
    rig.until(done, State.SUCCEEDED)
    rig.until_said("start", "b")
    wait_until(lambda: counts(rig), "a heartbeat has brought the counts")
    worker.signal_child(signal.SIGKILL)
    rig.ledger.release("b")
    rig.until(held, State.SUCCEEDED, timeout=30)
    worker.stop()
    assert {name.rpartition(".")[2]: told for name, told in counts(rig).items()} == {
        "note": {"succeeded": 1},
        "hold": {"crashed": 1, "succeeded": 1},
    }


def test_a_worker_that_is_told_not_to_keeps_none(rig):
    worker = rig.start(metrics=False)
    rig.until(rig.enqueue("note", "a"), State.SUCCEEDED)
    worker.stop()
    assert counts(rig) == {}
