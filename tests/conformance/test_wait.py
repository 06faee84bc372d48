"""wait and wake: sleep until there may be something to do. These run on the real clock."""

from __future__ import annotations

import threading
import time

import pytest

from conformance.builders import new_job, want, worker

LONG = 20.0  # far longer than any of these takes
SHORT = 0.05


class Waiter(threading.Thread):
    """A thread that waits, and what came of it."""

    def __init__(self, store, info):
        super().__init__(daemon=True)
        self.store, self.info = store, info
        self.about_to = threading.Event()
        self.answer: bool | None = None

    def run(self):
        self.about_to.set()
        self.answer = self.store.wait(self.info, LONG)

    def ends(self) -> bool:
        self.join(LONG / 2)
        return not self.is_alive()


@pytest.fixture
def me(store):
    info = worker(queues=("default", "mail"))
    store.heartbeat(info, ttl=60)
    return info


@pytest.fixture
def waiter(store, me):
    thread = Waiter(store, me)
    thread.start()
    assert thread.about_to.wait(LONG)
    yield thread
    store.wake(me)
    thread.join(LONG)


def test_it_ends_when_time_runs_out(store, me):
    began = time.monotonic()
    assert store.wait(me, SHORT) is False
    assert time.monotonic() - began >= SHORT * 0.9


def test_it_ends_at_once_when_something_is_ready(store, me):
    store.enqueue([new_job(1)])
    assert store.wait(me, LONG) is True


def test_an_enqueue_ends_it(store, waiter):
    store.enqueue([new_job(1, "mail")])
    assert waiter.ends()
    assert waiter.answer is True


def test_a_job_that_becomes_due_ends_it(store, me):
    store.enqueue([new_job(1, run_at=time.time() + 0.2)])
    began = time.monotonic()
    assert store.wait(me, LONG) is True
    assert time.monotonic() - began < LONG / 2


def test_a_job_scheduled_while_it_waits_ends_it_when_due(store, waiter):
    store.enqueue([new_job(1, run_at=time.time() + 0.2)])
    assert waiter.ends()


def test_a_star_waits_for_any_queue(store):
    info = worker("e2", queues=("*",))
    store.heartbeat(info, ttl=60)
    store.enqueue([new_job(1, "whatever")])
    assert store.wait(info, LONG) is True


def test_resuming_a_queue_ends_it(store, me):
    store.pause("default", paused=True)
    store.enqueue([new_job(1)])
    thread = Waiter(store, me)
    thread.start()
    store.pause("default", paused=False)
    assert thread.ends()


def test_reaping_ends_it(store, me):
    other = worker("e2")
    store.heartbeat(other, ttl=60)
    store.enqueue([new_job(1)])
    assert store.exchange("e2", [], want()).leased
    thread = Waiter(store, me)
    thread.start()
    store.reap(epoch="e2")
    assert thread.ends()


def test_wake_ends_it(store, me, waiter):
    store.wake(me)
    assert waiter.ends()


def test_a_wake_just_before_is_not_missed(store, me):
    store.wake(me)
    began = time.monotonic()
    store.wait(me, LONG)
    assert time.monotonic() - began < LONG / 2


def test_wake_leaves_other_workers_asleep(store, me):
    other = worker("e2")
    store.heartbeat(other, ttl=60)
    store.wake(me)
    assert store.wait(other, SHORT) is False
