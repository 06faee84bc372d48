"""Workers that stop without dying: a suspended one loses its jobs, and cannot finish them later."""

from __future__ import annotations

import re
import signal

import pytest

from process.rig import HASTY, wait_until
from turnout.job import State

pytestmark = pytest.mark.process


def epochs(rig) -> set[str]:
    return {info.epoch for info in rig.store.workers()}


def test_a_suspended_workers_late_settle_is_refused(rig):
    first = rig.start(**HASTY)
    job = rig.enqueue("hold", "a")
    rig.until_said("start", "a")
    zombie = first.suspend()
    second = rig.start()
    rig.until_said("start", "a", 2)
    [heir] = second.children()
    assert [int(line[2]) for line in rig.ledger.said("start", "a")] == [zombie, heir]

    first.signal_child(signal.SIGCONT)
    rig.until_said("lost", "a")
    assert int(rig.ledger.said("lost", "a")[0][2]) == zombie
    rig.ledger.release("a")
    rig.until_said("end", "a", 2)
    record = rig.until(job, State.SUCCEEDED)
    wait_until(
        lambda: "the lease was lost" in first.log, "the zombie heard that its settle is void"
    )
    assert "the lease was lost" not in second.log
    assert (record.attempt, record.crashes) == (1, 1)
    assert f":{heir}:" in (record.worker or ""), "the heir's settle is the one that counted"
    [stats] = rig.store.count()
    assert (stats.succeeded, stats.running, stats.ready) == (1, 0, 0)


def test_a_woken_worker_works_on_under_a_new_epoch(rig):
    first = rig.start(**HASTY)
    old = epochs(rig)
    [pid] = first.children()
    first.suspend()
    second = rig.start()
    wait_until(lambda: not old & epochs(rig), "the suspended worker was taken for dead")
    first.signal_child(signal.SIGCONT)
    wait_until(lambda: len(epochs(rig)) == 2, "it opened a new epoch")
    assert second.stop() == 0
    jobs = [rig.enqueue("hold", name) for name in "ab"]
    for name in "ab":  # both threads still work
        rig.until_said("start", name)
        assert int(rig.ledger.said("start", name)[0][2]) == pid
        rig.ledger.release(name)
    for job in jobs:
        rig.until(job, State.SUCCEEDED)
    assert first.children() == [pid], "the same process"
    assert "Traceback" not in first.log


def test_losing_the_epoch_again_and_again_costs_no_threads(rig):
    first = rig.start(threads=1, **HASTY)
    rig.start(queues="elsewhere")  # somebody to declare it dead
    [pid] = first.children()
    for _ in range(3):
        [old] = [info.epoch for info in rig.store.workers() if info.pid == pid]
        first.suspend()
        wait_until(lambda old=old: old not in epochs(rig), "it was taken for dead")
        first.signal_child(signal.SIGCONT)
        wait_until(lambda: any(i.pid == pid for i in rig.store.workers()), "it came back")
    job = rig.enqueue("note", "a")
    rig.until(job, State.SUCCEEDED)
    assert first.children() == [pid]
    assert "Traceback" not in first.log


def test_a_lost_epoch_is_announced_once(rig):
    """It opens a new one at once; it does not call itself dead ten times a second till then."""
    first = rig.start(heartbeat=2.0, dead_after=4.0, threads=4)
    job = rig.enqueue("nap", "busy", 0.2)
    rig.until(job)
    [old] = epochs(rig)
    first.suspend()
    rig.store.reap(epoch=old)
    first.signal_child(signal.SIGCONT)
    jobs = [rig.enqueue("note", f"{n}") for n in range(20)]
    for job in jobs:
        assert rig.until(job).state is State.SUCCEEDED
    assert len(re.findall("taken for dead", first.log)) == 1, first.log
