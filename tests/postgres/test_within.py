"""Enqueue in the caller's own transaction: it exists exactly when the caller's commit does."""

from __future__ import annotations

import psycopg
import psycopg2
import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from conformance.builders import (
    lease,
    new_job,
    open_epoch,
    put,
    state_of,
    succeeded,
    unique_job,
)
from postgres.callers import PLAIN
from process.rig import wait_until
from support import postgres
from turnout.errors import WithinError
from turnout.job import State
from turnout.store.postgres import PostgresStore


@pytest.fixture(params=PLAIN)
def caller(request, store):
    """A caller's transaction, about to begin."""
    with PLAIN[request.param](postgres.base_url()) as opened:
        yield opened


@pytest.fixture
def connection():
    with psycopg.connect(postgres.base_url()) as opened:
        yield opened


def test_it_is_there_after_the_commit_and_not_before(store, caller):
    store.enqueue([new_job(1)], within=caller.given)
    assert state_of(store, 1) is None
    caller.commit()
    assert state_of(store, 1) is State.QUEUED


def test_it_is_gone_with_a_rollback(store, caller):
    store.enqueue([new_job(1)], within=caller.given)
    caller.rollback()
    assert state_of(store, 1) is None


def test_a_savepoint_of_the_caller_takes_its_jobs_back_alone(store, caller):
    store.enqueue([new_job(1)], within=caller.given)
    caller.rows("SAVEPOINT mine")
    store.enqueue([new_job(2)], within=caller.given)
    caller.rows("ROLLBACK TO SAVEPOINT mine")
    caller.commit()
    assert (state_of(store, 1), state_of(store, 2)) == (State.QUEUED, None)


def test_a_taken_key_leaves_the_callers_transaction_usable(store, caller):
    put(store, unique_job(1))
    assert store.enqueue([unique_job(2)], within=caller.given) == [None]
    assert store.enqueue([new_job(3)], within=caller.given) == [new_job(3).id]
    caller.commit()
    assert state_of(store, 3) is State.QUEUED


def test_a_failed_enqueue_undoes_itself_and_nothing_of_the_callers(store, caller):
    caller.rows("CREATE TEMPORARY TABLE mine (n integer)")
    caller.rows("INSERT INTO mine VALUES (1)")
    with psycopg.connect(postgres.base_url()) as holder:
        store.enqueue([unique_job(1)], within=holder)
        caller.rows("SET LOCAL lock_timeout = '50ms'")
        with pytest.raises(WithinError, match=r"gave up waiting .* lock timeout"):
            store.enqueue([unique_job(2)], within=caller.given)
        holder.rollback()
    assert caller.rows("SELECT n FROM mine") == [(1,)]
    assert store.enqueue([unique_job(2)], within=caller.given) == [unique_job(2).id]


def test_a_transaction_that_failed_before_is_told_as_such(store, caller):
    with pytest.raises(Exception, match="division"):
        caller.rows("SELECT 1/0")
    with pytest.raises(WithinError, match="has failed before"):
        store.enqueue([new_job(1)], within=caller.given)


def test_nested_transactions_of_psycopg(store, connection):
    with connection.transaction():
        store.enqueue([new_job(1)], within=connection)
        with connection.transaction(force_rollback=True):
            store.enqueue([new_job(2)], within=connection)
        with connection.cursor() as cursor, connection.transaction():
            store.enqueue([new_job(3)], within=cursor)
    assert [state_of(store, n) for n in (1, 2, 3)] == [State.QUEUED, None, State.QUEUED]


def test_nested_transactions_of_sqlalchemy(store):
    engine = create_engine(postgres.base_url().replace("postgresql:", "postgresql+psycopg:"))
    with Session(engine) as session, session.begin():
        store.enqueue([new_job(1)], within=session)
        with session.begin_nested() as inner:
            store.enqueue([new_job(2)], within=session)
            inner.rollback()
        with session.begin_nested():
            store.enqueue([new_job(3)], within=session)
    engine.dispose()
    assert [state_of(store, n) for n in (1, 2, 3)] == [State.QUEUED, None, State.QUEUED]


# ---- what is refused


def autocommitting(kind: str):
    url = postgres.base_url()
    if kind == "psycopg":
        return psycopg.connect(url, autocommit=True)
    if kind == "psycopg2":
        plain = psycopg2.connect(url)
        plain.autocommit = True
        return plain
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    return engine.execution_options(isolation_level="AUTOCOMMIT").connect()


@pytest.mark.parametrize("kind", ["psycopg", "psycopg2", "sqlalchemy"])
def test_autocommit_without_a_transaction_is_refused(store, kind):
    plain = autocommitting(kind)
    with pytest.raises(WithinError, match="autocommit"):
        store.enqueue([new_job(1)], within=plain)
    plain.close()
    assert state_of(store, 1) is None


def test_autocommit_with_a_transaction_is_taken(store):
    with psycopg.connect(postgres.base_url(), autocommit=True) as plain, plain.transaction():
        store.enqueue([new_job(1)], within=plain)
        assert state_of(store, 1) is None
    assert state_of(store, 1) is State.QUEUED


def test_another_database_is_refused(store):
    elsewhere = postgres.base_url().rpartition("/")[0] + "/template1"
    with (
        psycopg.connect(elsewhere) as other,
        pytest.raises(WithinError, match="one transaction cannot span two"),
    ):
        store.enqueue([new_job(1)], within=other)


def test_another_server_with_a_database_of_that_name_is_refused(store, mortal):
    with (
        psycopg.connect(mortal.url) as other,
        pytest.raises(WithinError, match="server is not the one of the jobs"),
    ):
        store.enqueue([new_job(1)], within=other)


def test_the_same_server_is_known_again_after_a_restart(mortal):
    store = PostgresStore.from_url(f"{mortal.url}?schema=again")
    with psycopg.connect(mortal.url) as connection:
        store.enqueue([new_job(1)], within=connection)
    mortal.stop("fast")
    mortal.start()
    with psycopg.connect(mortal.url) as connection:
        store.enqueue([new_job(2)], within=connection)
    assert state_of(store, 2) is State.QUEUED
    store.close()


def test_another_kind_of_database_is_refused(store):
    engine = create_engine("sqlite:///:memory:")
    with engine.connect() as other, pytest.raises(WithinError, match="sqlite"):
        store.enqueue([new_job(1)], within=other)
    engine.dispose()


@pytest.mark.parametrize("kind", [k for k in PLAIN if not k.startswith(("session", "scoped"))])
def test_a_connection_that_was_closed_is_refused(store, kind):
    with PLAIN[kind](postgres.base_url()) as closed:
        given = closed.given
    with pytest.raises(WithinError, match="closed"):
        store.enqueue([new_job(1)], within=given)
    assert state_of(store, 1) is None


def test_a_connection_whose_server_process_was_killed_is_refused(store, connection):
    with psycopg.connect(postgres.base_url(), autocommit=True) as admin:
        connection.execute("SELECT 1")
        pid = connection.info.backend_pid
        admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
        query = "SELECT pid FROM pg_stat_activity WHERE pid = %s"
        wait_until(lambda: not admin.execute(query, (pid,)).fetchall(), "the session is gone")
    with pytest.raises(WithinError, match=r"terminat|closed"):
        store.enqueue([new_job(1)], within=connection)
    assert state_of(store, 1) is None


@pytest.mark.parametrize("given", [object(), "postgresql://here", 7])
def test_what_is_no_connection_is_refused(store, given):
    with pytest.raises(WithinError, match=type(given).__name__):
        store.enqueue([new_job(1)], within=given)


def test_a_settle_within_a_transaction_leaves_its_durability_alone(store):
    open_epoch(store)
    put(store, new_job(1))
    [job] = lease(store)
    with store.transaction() as connection:
        store.exchange("e1", [succeeded(job)], None, within=connection)
        row = connection.execute("SHOW synchronous_commit").fetchone()
    assert row == ("on",)
    assert state_of(store, 1) is State.SUCCEEDED
