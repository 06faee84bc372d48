"""`memory`: a store of one's own, put in place and taken away."""

from __future__ import annotations

import sqlite3

import pytest

from turnout.testing import drain, enqueued, memory


def test_enqueues_go_to_memory_and_the_real_store_comes_back(shop):
    real = shop.jobs.store
    with memory(shop.jobs) as store:
        assert shop.jobs.store is store is not real
        shop.charge.enqueue(7)
        assert [job.task for job in enqueued(shop.jobs)] == ["charge"]
    assert shop.jobs.store is real


def test_each_block_begins_empty(shop):
    for _ in range(2):
        with memory(shop.jobs):
            shop.charge.enqueue(7)
            assert len(enqueued(shop.jobs)) == 1


def test_the_real_store_comes_back_after_an_error(shop):
    real = shop.jobs.store
    with pytest.raises(ZeroDivisionError), memory(shop.jobs):
        raise ZeroDivisionError
    assert shop.jobs.store is real


def test_blocks_nest(shop):
    with memory(shop.jobs) as outer:
        shop.charge.enqueue(1)
        with memory(shop.jobs):
            assert enqueued(shop.jobs) == []
        assert shop.jobs.store is outer
        assert len(enqueued(shop.jobs)) == 1


def test_an_enqueue_in_the_callers_transaction_is_accepted(shop):
    connection = sqlite3.connect(":memory:")
    with memory(shop.jobs), shop.jobs.within(connection):
        shop.charge.enqueue(7)
        assert drain(shop.jobs) == {"succeeded": 1}
    connection.close()
