"""Enqueue in the caller's own transaction: it exists exactly when the caller's commit does."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit

import django
import pymysql
import pytest
from django.conf import settings
from django.db.utils import ConnectionHandler
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from conformance.builders import (
    job_id,
    new_job,
    put,
    run_sql,
    running,
    state_of,
    unique_job,
    worker,
)
from turnout.errors import WithinError
from turnout.job import State
from turnout.store.mysql import MySQLStore


@pytest.fixture
def connection(family):
    with family.connect() as opened:
        yield opened


@pytest.fixture
def engine(family):
    made = create_engine("mysql+pymysql:" + family.base_url().partition(":")[2])
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


def test_django(family, store):
    parts = urlsplit(family.base_url())
    if not settings.configured:
        settings.configure()
        django.setup()
    pymysql.install_as_MySQLdb()
    where = {"NAME": parts.path[1:], "USER": parts.username, "PASSWORD": parts.password or ""}
    where |= {"HOST": parts.hostname, "PORT": parts.port, "ENGINE": "django.db.backends.mysql"}
    given = ConnectionHandler({"default": where})["default"]
    try:
        with _atomic(given):
            store.enqueue([new_job(1)], within=given)
            assert state_of(store, 1) is None
        assert state_of(store, 1) is State.QUEUED
        with pytest.raises(WithinError, match="autocommit"):
            store.enqueue([new_job(2)], within=given)
    finally:
        given.close()


def test_sleeping_workers_are_woken_by_the_commit_of_a_session(store, engine):
    me = worker()
    store.heartbeat(me, ttl=60)
    bell = store._bell(me)
    with Session(engine) as session:
        store.enqueue([new_job(1)], within=session)
        assert not bell.wait(0)
        session.commit()
        assert bell.wait(1)


def test_a_taken_key_leaves_the_callers_transaction_usable(store, connection):
    put(store, unique_job(1))
    assert store.enqueue([unique_job(2)], within=connection) == [None]
    assert store.enqueue([new_job(3)], within=connection) == [job_id(3)]
    connection.commit()
    assert state_of(store, 3) is State.QUEUED


def test_a_failed_enqueue_undoes_itself_and_nothing_of_the_callers(family, store, connection):
    run_sql(connection, "CREATE TEMPORARY TABLE mine (n INTEGER)")
    run_sql(connection, "INSERT INTO mine VALUES (1)")
    with family.connect() as holder:
        store.enqueue([unique_job(1)], within=holder)
        run_sql(connection, "SET innodb_lock_wait_timeout = 1")
        with pytest.raises(WithinError, match="1205"):
            store.enqueue([new_job(3), unique_job(2)], within=connection)
        holder.rollback()
    assert run_sql(connection, "SELECT n FROM mine") == [(1,)]
    assert store.enqueue([unique_job(2)], within=connection) == [job_id(2)]
    connection.commit()
    assert (state_of(store, 2), state_of(store, 3)) == (State.QUEUED, None)


def test_autocommit_without_a_transaction_is_refused(family, store):
    with family.connect(autocommit=True) as plain:
        with pytest.raises(WithinError, match="autocommit"):
            store.enqueue([new_job(1)], within=plain)
        assert state_of(store, 1) is None
        plain.begin()
        store.enqueue([new_job(1)], within=plain)
        plain.commit()
    assert state_of(store, 1) is State.QUEUED


def test_another_database_is_refused(family, store):
    with family.connect() as other:
        other.select_db("information_schema")
        with pytest.raises(WithinError, match="one transaction cannot span two"):
            store.enqueue([new_job(1)], within=other)


def test_what_is_no_connection_is_refused(store):
    with pytest.raises(WithinError, match="PyMySQL"):
        store.enqueue([new_job(1)], within=object())


def test_a_task_that_commits_by_itself_is_told_so(store):
    running(store, new_job(1))
    with pytest.raises(WithinError, match="leaves commit"), store.transaction() as connection:
        connection.commit()


def test_an_old_snapshot_of_the_callers_does_not_hide_a_taken_key(store, connection):
    run_sql(connection, "SELECT 1 FROM information_schema.innodb_trx LIMIT 1")
    run_sql(connection, f"SELECT * FROM {store.prefix}uniq")
    put(store, unique_job(1))
    assert store.enqueue([unique_job(2)], within=connection) == [None]
    connection.rollback()


def test_a_callers_open_transaction_holds_nobody_up(family, store, connection):
    store.enqueue([new_job(1), new_job(2, "mail")], within=connection)
    other = MySQLStore.from_url(family.base_url() + f"?prefix={store.prefix}")
    leased: list[object] = []

    def work() -> None:
        leased.extend(running(other, new_job(3), new_job(4, "mail")))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(5)
    assert len(leased) == 2
    connection.commit()
    other.close()
    assert state_of(store, 1) is State.QUEUED


def _atomic(given):
    """Django's atomic block on a connection that is in no settings."""

    class Block:
        def __enter__(self):
            given.ensure_connection()
            given.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
            given.in_atomic_block = True
            given.commit_on_exit = True

        def __exit__(self, *_):
            given.in_atomic_block = False
            given.commit()
            given.set_autocommit(True)

    return Block()
