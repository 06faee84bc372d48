"""Lanes, as far as a store knows of them: `mail~a` is a lane of the queue `mail`."""

from __future__ import annotations

import threading

import pytest

from conformance.builders import T, lease, new_job, numbers, open_epoch, put, want, worker
from turnout.job import Want

LONG = 20.0


def test_a_star_stands_for_no_lane(store):
    open_epoch(store)
    put(store, new_job(1, "mail~a"), new_job(2, "mail"), new_job(3, "other~a"))
    assert numbers(job.id for job in lease(store)) == [2]


def test_a_lane_is_leased_by_its_name(store):
    open_epoch(store)
    put(store, new_job(1, "mail~a"), new_job(2, "mail~b"), new_job(3, "mail~a"))
    leased = lease(store, "mail~a", "mail~b", "*")
    assert numbers(job.id for job in leased) == [1, 3, 2]
    assert [job.queue for job in leased] == ["mail~a", "mail~a", "mail~b"]


def test_each_lane_has_its_own_room(store):
    open_epoch(store)
    put(store, *(new_job(n, f"mail~{'ab'[n % 2]}") for n in range(10)))
    asked = Want((("mail~a", 2), ("mail~b", 1), ("mail", 5)), 100)
    leased = store.exchange("e1", [], asked, now=T).leased
    assert sorted(job.queue for job in leased) == ["mail~a", "mail~a", "mail~b"]


def test_what_is_ready_is_told_by_queue(store):
    assert store.ready() == {}
    put(store, new_job(1, "mail~a"), new_job(2, "mail~a"), new_job(3, "mail"))
    put(store, new_job(4, "later", run_at=T + 4_000_000_000))
    assert store.ready() == {"mail": 1, "mail~a": 2}
    open_epoch(store)
    store.exchange("e1", [], want("mail~a", limit=1), now=T)
    assert store.ready() == {"mail": 1, "mail~a": 1}
    lease(store, "mail~a", "mail")
    assert store.ready() == {}


def test_a_queue_is_paused_with_its_lanes(store):
    open_epoch(store)
    put(store, new_job(1, "mail~a"), new_job(2, "mail"), new_job(3, "other~a"))
    store.pause("mail", paused=True)
    assert store.ready() == {"other~a": 1}
    assert numbers(job.id for job in lease(store, "mail", "mail~a", "other~a")) == [3]
    store.pause("mail", paused=False)
    assert numbers(job.id for job in lease(store, "mail", "mail~a")) == [2, 1]


def test_a_lane_is_paused_alone(store):
    open_epoch(store)
    put(store, new_job(1, "mail~a"), new_job(2, "mail"), new_job(3, "mail~b"))
    store.pause("mail~a", paused=True)
    assert store.ready() == {"mail": 1, "mail~b": 1}
    leased = lease(store, "mail~a", "mail", "mail~b")
    assert numbers(job.id for job in leased) == [2, 3]


@pytest.mark.parametrize("served", [("mail",), ("*",), ("mail", "other")])
def test_a_job_in_a_lane_wakes_who_serves_its_queue(store, served):
    me = worker(queues=served)
    store.heartbeat(me, ttl=60)
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(store.wait(me, LONG)), daemon=True)
    thread.start()
    put(store, new_job(1, "mail~a", run_at=None), now=None)
    thread.join(LONG / 2)
    store.wake(me)
    assert answers == [True]


def test_a_paused_lane_wakes_nobody(store):
    me = worker(queues=("mail",))
    store.heartbeat(me, ttl=60)
    store.pause("mail", paused=True)
    put(store, new_job(1, "mail~a", run_at=None), now=None)
    while store.wait(me, 0.3):  # a ring of the enqueue may come first
        assert store.ready() == {}
