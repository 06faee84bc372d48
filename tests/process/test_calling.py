"""Blocks around a call to a dependency, in several processes and on every store."""

from __future__ import annotations

import pytest

from process.rig import wait_until
from turnout.job import JobFilter, State
from turnout.limits import Adaptive
from turnout.shared import Watched

pytestmark = pytest.mark.process
JOBS = 40


def at_most(rig, limit: int) -> Watched:
    """Let the dependency bear so many calls, as if that had been learnt."""
    watched = rig.app.watched("fragile")
    start = Adaptive(start=limit).initial()
    watched._change(lambda state: _with(state, start))
    return watched


def _with(state, adaptive):
    from msgspec.structs import replace

    return replace(state, adaptive=adaptive)


def most_at_once(lines: list[list[str]]) -> int:
    inside = most = 0
    for line in lines:
        inside += (line[0] == "start") - (line[0] == "end")
        most = max(most, inside)
    return most


def test_calls_in_jobs_and_in_isolated_children_share_the_slots(rig):
    at_most(rig, 2)
    for name in ("within", "within-isolated"):
        task = rig.app.tasks[name]
        rig.app.enqueue_many(task.prepare(f"{name}{n}") for n in range(JOBS // 2))
    # Patient with a busy machine: a worker taken for dead would have its jobs run twice.
    rig.start(processes=2, threads=4, dead_after=20.0)
    where = JobFilter(states=(State.SUCCEEDED,))
    wait_until(lambda: len(rig.store.find(where, limit=JOBS)) == JOBS, timeout=90)
    lines = [line for line in rig.ledger.lines() if line[1] == "fragile"]
    assert len(lines) == 2 * JOBS
    # It learns while they run: one more for each limit's worth of good calls.
    assert most_at_once(lines[:8]) <= 4
    assert {record.attempt for record in rig.store.find(where, limit=JOBS)} == {1}


def test_what_one_worker_opened_holds_back_the_calls_of_all(rig):
    watched = rig.app.watched("fragile")
    rig.store.setup()
    watched.open()
    job = rig.enqueue("within", "a")
    rig.start(processes=2)
    now = rig.app.clock()
    wait_until(lambda: (rig.record(job).run_at or 0) > now)
    assert rig.ledger.said("start", "fragile") == []
    watched.close()
    record = wait_until(lambda: (found := rig.record(job)).state.is_final and found, timeout=20)
    assert (record.state, record.attempt) == (State.SUCCEEDED, 1)
