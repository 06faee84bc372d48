"""Tenants in lanes of one queue: the million of one does not keep another waiting."""

from __future__ import annotations

import pytest

from process.rig import wait_until
from turnout.job import JobFilter, State

pytestmark = pytest.mark.process


def test_a_job_of_another_lane_does_not_wait_for_those_before_it(rig):
    rig.start(queues="default", threads=2)
    many = [rig.app.tasks["nap"].using(lane="big").prepare(f"b{n}", 0.02) for n in range(600)]
    rig.app.enqueue_many(many)
    rig.until_said("start", "b0")
    job = rig.enqueue("nap", "small", 0.0, lane="small")
    rig.until(job, State.SUCCEEDED)
    assert len(rig.ledger.said("start")) < 300, "it had its turn before half of the others"


def test_lanes_are_served_to_the_end_and_beside_their_queue(rig):
    rig.start(queues="default", processes=2)
    ids = [rig.enqueue("note", f"{n}", lane=f"t{n % 40}") for n in range(200)]
    ids += [rig.enqueue("note", f"p{n}") for n in range(20)]
    wait_until(lambda: rig.states(ids) == {State.SUCCEEDED: 220}, "all ran")
    assert rig.store.ready() == {}


def test_a_worker_for_every_queue_serves_every_lane(rig):
    rig.start()
    ids = [rig.enqueue("note", f"{n}", lane="a", queue=("x", "y")[n % 2]) for n in range(20)]
    wait_until(lambda: rig.states(ids) == {State.SUCCEEDED: 20}, "all ran")


def test_until_empty_waits_for_the_lanes(rig):
    ids = [rig.enqueue("note", f"{n}", lane=f"t{n % 3}") for n in range(30)]
    assert rig.start(until_empty=True, queues="default").wait(30) == 0
    assert rig.states(ids) == {State.SUCCEEDED: 30}


def test_a_paused_queue_keeps_its_lanes(rig):
    rig.store.pause("default", paused=True)
    rig.start(queues="default")
    held = rig.enqueue("note", "held", lane="a")
    other = rig.enqueue("note", "free", lane="a", queue="other")
    rig.start(queues="other")
    rig.until(other, State.SUCCEEDED)
    assert rig.store.find(JobFilter(ids=(held,)), limit=1)[0].state is State.QUEUED
    rig.store.pause("default", paused=False)
    rig.until(held, State.SUCCEEDED)
