"""SQLite: a statement that goes on for too long is ended, and its connection serves the next."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from conformance.builders import new_job, numbers, put
from turnout.errors import StoreError, StoreSlow
from turnout.job import JobFilter
from turnout.store.patience import patient
from turnout.store.sqlite.connection import Connections
from turnout.store.sqlite.store import SQLiteStore

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def connections(tmp_path):
    opened = Connections(tmp_path / "jobs.db")
    yield opened
    opened.close()


def test_an_endless_statement_is_ended(connections):
    with (
        pytest.raises(StoreSlow, match=r"longer than 0\.2 s"),
        patient(0.2),
        connections.front() as connection,
    ):
        connection.execute(ENDLESS)
    with connections.front() as same:
        assert same is connection
        # More steps than lie between two looks at the clock: nobody looks any more.
        [(count,)] = same.execute(f"SELECT * FROM ({ENDLESS} LIMIT 1)".replace(
            "SELECT i + 1 FROM n", "SELECT i + 1 FROM n WHERE i < 100000"
        ))  # fmt: skip
    assert count == 100_000


def test_a_write_that_is_ended_leaves_nothing(connections):
    with connections.front() as connection:
        connection.execute("CREATE TABLE t (i)")
    with pytest.raises(StoreSlow), patient(0.2), connections.front() as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO t VALUES (1)")
        connection.execute(ENDLESS)
    with connections.front() as connection:
        assert list(connection.execute("SELECT * FROM t")) == []
        connection.execute("INSERT INTO t VALUES (2)")


def test_whoever_shows_a_page_does_not_wait_for_a_lock_as_long_as_a_worker(tmp_path):
    store = SQLiteStore.from_url(f"sqlite:///{tmp_path}/jobs.db")
    store.setup()
    holder = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreSlow, match="write transaction open"), patient(0.2):
        put(store, new_job(1))
    holder.execute("ROLLBACK")
    put(store, new_job(2))
    assert numbers(store.find(JobFilter())) == [2]
    holder.close()
    store.close()


def test_a_fault_stays_a_fault(connections):
    with (
        pytest.raises(StoreError, match="no such table"),
        patient(60.0),
        connections.front() as connection,
    ):
        connection.execute("SELECT * FROM somewhere")


def test_transactional_tasks_of_one_process_wait_for_each_other_without_polling_the_file(
    tmp_path, monkeypatch
):
    store = SQLiteStore.from_url(f"sqlite:///{tmp_path}/jobs.db")
    store.setup()
    polls: list[float] = []
    monkeypatch.setattr("turnout.store.sqlite.busy.time.sleep", polls.append)
    held = threading.Event()

    def task(n: int) -> None:
        with store.transaction() as connection:
            connection.execute(f"CREATE TABLE t{n} (i)")
            held.wait(0.05)

    threads = [threading.Thread(target=task, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with store.transaction() as connection:
        [(made,)] = connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE name GLOB 't[0-9]'"
        )
    assert made == 6
    assert polls == []


def test_a_transactional_task_waits_no_longer_than_its_caller_lets_it(tmp_path):
    store = SQLiteStore.from_url(f"sqlite:///{tmp_path}/jobs.db")
    store.setup()
    with (
        store.transaction(),
        pytest.raises(StoreSlow, match="write transaction open"),
        patient(0.2),
        store.transaction(),
    ):
        pass
    with store.transaction():
        pass
