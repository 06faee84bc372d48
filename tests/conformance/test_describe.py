"""describe, setup and close: what a store is, and that opening it twice does no harm."""

from __future__ import annotations

import os

import pytest

from conformance.builders import T, known, lease, new_job, numbers, open_epoch, put, worker
from turnout.store import open_store

SURVIVES = ["nothing", "a killed process", "a power cut"]


def test_it_names_itself_and_says_what_survives(store):
    info = store.describe()
    assert info.name
    assert info.location
    assert info.enqueue_survives in SURVIVES
    assert info.settle_survives in SURVIVES


def test_a_settle_is_never_more_durable_than_an_enqueue(store):
    info = store.describe()
    assert SURVIVES.index(info.settle_survives) <= SURVIVES.index(info.enqueue_survives)


def test_a_store_of_no_durability_says_so():
    info = open_store("memory:trial").describe()
    assert (info.location, info.enqueue_survives) == ("memory:trial", "nothing")


def test_setup_may_be_repeated(store):
    put(store, new_job(1))
    store.setup()
    assert known(store, 1).id == new_job(1).id


def test_a_closed_store_may_be_used_again(store):
    put(store, new_job(1))
    store.close()
    open_epoch(store)
    assert numbers(lease(store)) == [1]
    store.close()
    store.close()


def test_without_a_now_the_stores_own_clock_counts(store):
    store.enqueue([new_job(1)])
    store.heartbeat(worker(), ttl=60)
    [seen] = store.workers()
    assert seen.deadline > T


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_may_use_the_store_after_a_fork(store):
    put(store, new_job(1))
    child = os.fork()
    if child == 0:
        try:
            put(store, new_job(2))
            os._exit(0 if known(store, 1) and known(store, 2) else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert numbers(put(store, new_job(3))) == [3]
