"""order: what operators tell a worker reaches it by its heartbeats, each once."""

from __future__ import annotations

import pytest

from conformance.builders import (
    T,
    lease,
    new_job,
    numbers,
    open_epoch,
    put,
    running,
    stop_epoch,
    worker,
)
from turnout.job import JobFilter, Orders


def beat(store, epoch: str = "e1", at: float = T) -> Orders:
    return store.heartbeat(worker(epoch), ttl=30, now=at)


@pytest.mark.parametrize("order", ["quiet", "stop", "dump"])
def test_an_order_comes_with_the_next_heartbeat_and_only_with_that(store, order):
    open_epoch(store)
    assert store.order("e1", order)
    assert beat(store, at=T + 1) == Orders(**{order: True})
    assert beat(store, at=T + 2) == Orders()


def test_it_goes_to_that_worker_alone(store):
    open_epoch(store, "e1")
    open_epoch(store, "e2")
    store.order("e2", "stop")
    assert beat(store, "e1") == Orders()
    assert beat(store, "e2") == Orders(stop=True)


def test_several_orders_all_arrive(store):
    open_epoch(store)
    store.order("e1", "quiet")
    store.order("e1", "dump")
    beats = [beat(store, at=T + n) for n in range(1, 4)]
    assert [sum(getattr(one, name) for one in beats) for name in ("quiet", "dump")] == [1, 1]
    assert beats[0].quiet, "the oldest first"
    assert not any(one.stop for one in beats)


def test_an_order_and_a_cancelled_job_come_together(store):
    [job] = running(store, new_job(1))
    store.change(JobFilter(ids=(job.id,)), "cancel", now=T)
    store.order("e1", "dump")
    assert beat(store) == Orders(cancel=frozenset([job.id]), dump=True)


def test_nobody_can_be_told_whose_epoch_is_not_open(store):
    assert not store.order("nobody", "stop")
    open_epoch(store)
    stop_epoch(store)
    assert not store.order("e1", "stop")
    open_epoch(store, "e2")
    store.reap(epoch="e2", now=T)
    assert not store.order("e2", "stop")
    assert store.heartbeat(worker("e2"), ttl=30, now=T) == Orders(lost=True)


def test_what_a_worker_tells_of_itself_stays_as_it_is(store):
    store.heartbeat(worker("e1", running=3, rss=52_428_800), ttl=30, now=T)
    [before] = store.workers(now=T)
    store.order("e1", "quiet")
    assert store.workers(now=T) == [before]
    assert (before.running, before.rss) == (3, 52_428_800)


def test_a_told_worker_goes_on_leasing_until_it_obeys(store):
    open_epoch(store)
    put(store, new_job(1))
    store.order("e1", "stop")
    assert numbers(lease(store)) == [1]
