"""Enqueue in the caller's own transaction: it exists exactly when the caller's commit does."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from conformance.builders import (
    lease,
    new_job,
    open_epoch,
    put,
    state_of,
    succeeded,
    unique_job,
)
from support import postgres
from turnout.errors import WithinError
from turnout.job import State


@pytest.fixture
def connection():
    with psycopg.connect(postgres.base_url()) as opened:
        yield opened


@pytest.fixture
def engine():
    made = create_engine(postgres.base_url().replace("postgresql:", "postgresql+psycopg:"))
    yield made
    made.dispose()


def test_it_is_there_after_the_commit_and_not_before(store, connection):
    store.enqueue([new_job(1)], within=connection)
    assert state_of(store, 1) is None
    connection.commit()
    assert state_of(store, 1) is State.QUEUED


def test_it_is_gone_with_a_rollback(store, connection):
    store.enqueue([new_job(1)], within=connection.cursor())
    connection.rollback()
    assert state_of(store, 1) is None


@pytest.mark.parametrize("kind", ["session", "connection"])
def test_sqlalchemy(store, engine, kind):
    for n, end in ((1, "commit"), (2, "rollback")):
        with Session(engine) if kind == "session" else engine.connect() as given:
            store.enqueue([new_job(n)], within=given)
            getattr(given, end)()
    assert (state_of(store, 1), state_of(store, 2)) == (State.QUEUED, None)


def test_a_taken_key_leaves_the_callers_transaction_usable(store, connection):
    put(store, unique_job(1))
    assert store.enqueue([unique_job(2)], within=connection) == [None]
    assert store.enqueue([new_job(3)], within=connection) == [new_job(3).id]
    connection.commit()
    assert state_of(store, 3) is State.QUEUED


def test_a_failed_enqueue_undoes_itself_and_nothing_of_the_callers(store, connection):
    connection.execute("CREATE TEMPORARY TABLE mine (n integer)")
    connection.execute("INSERT INTO mine VALUES (1)")
    with psycopg.connect(postgres.base_url()) as holder:
        store.enqueue([unique_job(1)], within=holder)
        connection.execute("SET LOCAL lock_timeout = '50ms'")
        with pytest.raises(WithinError, match="lock timeout"):
            store.enqueue([unique_job(2)], within=connection)
        holder.rollback()
    assert connection.execute("SELECT n FROM mine").fetchall() == [(1,)]
    assert store.enqueue([unique_job(2)], within=connection) == [unique_job(2).id]


def test_autocommit_without_a_transaction_is_refused(store):
    with psycopg.connect(postgres.base_url(), autocommit=True) as plain:
        with pytest.raises(WithinError, match="autocommit"):
            store.enqueue([new_job(1)], within=plain)
        with plain.transaction():
            store.enqueue([new_job(1)], within=plain)
    assert state_of(store, 1) is State.QUEUED


def test_another_database_is_refused(store):
    elsewhere = postgres.base_url().rpartition("/")[0] + "/template1"
    with (
        psycopg.connect(elsewhere) as other,
        pytest.raises(WithinError, match="one transaction cannot span two"),
    ):
        store.enqueue([new_job(1)], within=other)


def test_what_is_no_connection_is_refused(store):
    with pytest.raises(WithinError, match="psycopg"):
        store.enqueue([new_job(1)], within=object())


def test_a_settle_within_a_transaction_leaves_its_durability_alone(store):
    open_epoch(store)
    put(store, new_job(1))
    [job] = lease(store)
    with store.transaction() as connection:
        store.exchange("e1", [succeeded(job)], None, within=connection)
        row = connection.execute("SHOW synchronous_commit").fetchone()
    assert row == ("on",)
    assert state_of(store, 1) is State.SUCCEEDED
