"""ordered: a busy worker hears that somebody asked one of its jobs to stop, between heartbeats."""

from __future__ import annotations

import threading
import time

from conformance.builders import T, job_id, new_job, open_epoch, put, running, worker
from turnout.job import JobFilter
from turnout.store.protocol import HearsOrders


def hears(store, epoch: str = "e1") -> bool:
    """Look until an order is heard, as the clock of a busy worker does, for ten seconds at most."""
    pause, deadline = threading.Event(), time.monotonic() + 10
    while not (heard := store.ordered(worker(epoch))) and time.monotonic() < deadline:
        pause.wait(0.01)
    return heard


def test_a_cancel_is_heard_once_by_who_runs_the_job(store):
    assert isinstance(store, HearsOrders)
    running(store, new_job(1))
    assert not store.ordered(worker("e1"))
    store.change(JobFilter(ids=(job_id(1),)), "cancel", now=T)
    assert hears(store)
    assert store.heartbeat(worker("e1"), ttl=30, now=T).cancel == {job_id(1)}
    assert not store.ordered(worker("e1"))


def test_what_is_no_order_is_not_taken_for_one(store):
    open_epoch(store)
    assert not store.ordered(worker("e1"))
    put(store, new_job(1))
    store.change(JobFilter(), "delete", now=T)
    put(store, new_job(2))
    store.change(JobFilter(), "cancel", now=T)  # a queued one: heard all the same, and harmless
    assert hears(store)
    assert store.heartbeat(worker("e1"), ttl=30, now=T).cancel == frozenset()


def test_an_unknown_worker_hears_nothing(store):
    assert not store.ordered(worker("nobody"))


def test_an_order_during_a_sleep_is_not_swallowed(store):
    running(store, new_job(1))
    store.ordered(worker("e1"))
    asleep = threading.Thread(target=store.wait, args=(worker("e1"), 0.5))
    asleep.start()
    store.change(JobFilter(), "cancel", now=T)
    asleep.join(10)
    assert hears(store)
