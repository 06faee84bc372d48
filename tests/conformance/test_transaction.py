"""`transaction` and `exchange(within=)`: a task's own writes and its settle, together or not."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.builders import (
    T,
    found,
    new_job,
    numbers,
    open_epoch,
    put,
    run_ddl,
    run_sql,
    running,
    settle,
    state_of,
    succeeded,
    want,
)
from conformance.stores import URLS, WITHOUT_TRANSACTIONS
from turnout.errors import WithinError
from turnout.job import State
from turnout.store import open_store
from turnout.store.protocol import Store


@pytest.fixture(params=[name for name in URLS if name not in WITHOUT_TRANSACTIONS])
def url(request, tmp_path) -> str:
    """The URL of an empty store that has transactions."""
    return URLS[request.param](tmp_path)


@pytest.fixture
def charges(store: Store) -> Any:
    """A table of the application in the store's database; the call returns its rows."""
    run_ddl(store, "CREATE TABLE charge (order_id INTEGER)")

    def rows() -> list[int]:
        with store.transaction() as connection:
            return [row[0] for row in run_sql(connection, "SELECT order_id FROM charge")]

    yield rows
    run_ddl(store, "DROP TABLE charge")


def test_the_write_and_the_settle_are_committed_together(store, charges):
    [job] = running(store, new_job(1))
    with store.transaction() as connection:
        run_sql(connection, "INSERT INTO charge VALUES (1)")
        answer = store.exchange("e1", [succeeded(job)], None, within=connection, now=T)
        assert numbers(answer.settled) == [1]
    assert (charges(), state_of(store, 1)) == ([1], State.SUCCEEDED)


def test_neither_is_there_when_the_block_raises(store, charges):
    [job] = running(store, new_job(1))
    with pytest.raises(ZeroDivisionError), store.transaction() as connection:
        run_sql(connection, "INSERT INTO charge VALUES (1)")
        store.exchange("e1", [succeeded(job)], None, within=connection, now=T)
        raise ZeroDivisionError
    assert (charges(), state_of(store, 1)) == ([], State.RUNNING)
    assert settle(store, succeeded(job)) == [1]


def test_a_reaped_worker_settles_nothing_within_a_transaction_either(store, charges):
    [job] = running(store, new_job(1))
    store.reap(epoch="e1", now=T)
    with pytest.raises(ZeroDivisionError), store.transaction() as connection:
        run_sql(connection, "INSERT INTO charge VALUES (1)")
        answer = store.exchange("e1", [succeeded(job)], None, within=connection, now=T)
        assert (answer.settled, answer.lost) == ([], True)
        raise ZeroDivisionError
    assert (charges(), state_of(store, 1)) == ([], State.QUEUED)


def test_follow_up_jobs_travel_with_the_transaction(store, charges):
    [job] = running(store, new_job(1))
    with pytest.raises(ZeroDivisionError), store.transaction() as connection:
        store.enqueue([new_job(2)], within=connection, now=T)
        raise ZeroDivisionError
    with store.transaction() as connection:
        store.enqueue([new_job(3)], within=connection, now=T)
        store.exchange("e1", [succeeded(job)], None, within=connection, now=T)
    assert found(store, states=(State.QUEUED,)) == [3]


def test_nothing_is_leased_within_a_transaction(store, charges):
    open_epoch(store)
    put(store, new_job(1))
    with store.transaction() as connection:
        assert store.exchange("e1", [], want(), within=connection, now=T).leased == []
    assert state_of(store, 1) is State.QUEUED


def test_a_transaction_can_be_opened_again_after_one_that_failed(store, charges):
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), store.transaction() as connection:
            run_sql(connection, "INSERT INTO charge VALUES (1)")
            raise ZeroDivisionError
    assert charges() == []


@pytest.mark.parametrize("name", WITHOUT_TRANSACTIONS)
def test_a_store_without_transactions_says_so(name, tmp_path):
    store = open_store(URLS[name](tmp_path))
    with pytest.raises(WithinError, match="no transactions"):
        store.transaction()
    with pytest.raises(WithinError, match="no transactions"):
        store.exchange("e1", [], None, within=object())
