"""The tables: made once, repeated without harm, refused when they are not ours."""

from __future__ import annotations

import threading

import pytest

from conformance.builders import found, new_job, put, run_sql
from support import mysql
from turnout.errors import SchemaError, StoreBusy, StoreUnavailable
from turnout.limits import Mark
from turnout.store import schema_sql
from turnout.store.mysql import MySQLStore, checks
from turnout.store.mysql.base import schema_steps
from turnout.store.mysql.connection import Connections
from turnout.store.mysql.url import read_url


@pytest.fixture
def blank(family, prefix):
    """The prefix, with no table under it any more."""

    def drop() -> None:
        with family.connect() as admin:
            for name in mysql.tables(admin, prefix):
                run_sql(admin, f"DROP TABLE {name}")

    drop()
    yield prefix
    drop()


def test_two_prefixes_share_a_database_and_do_not_meet(family, store):
    other = MySQLStore.from_url(family.fresh_url())
    put(store, new_job(1))
    put(other, new_job(2))
    assert (found(store), found(other)) == ([1], [2])
    other.close()


def test_a_newer_schema_is_refused(family, url, blank):
    MySQLStore.from_url(url).setup()
    with family.connect(autocommit=True) as admin:
        run_sql(admin, f"UPDATE {blank}meta SET value = '99' WHERE name = 'schema'")
    with pytest.raises(SchemaError, match="newer Turnout"):
        MySQLStore.from_url(url).setup()


@pytest.mark.parametrize("table", ["meta", "job"])
def test_somebody_elses_table_is_refused(family, url, blank, table):
    with family.connect() as admin:
        run_sql(admin, f"CREATE TABLE {blank}{table} (mine INTEGER)")
    with pytest.raises(SchemaError, match="another prefix"):
        MySQLStore.from_url(url).setup()


@pytest.mark.parametrize("done", [1, 5, 20, -1])
def test_a_migration_that_was_cut_short_is_taken_up_again(family, url, blank, done):
    with family.connect() as admin:
        for step in schema_steps(blank)[:done]:
            run_sql(admin, step)
    store = MySQLStore.from_url(url)
    put(store, new_job(1))
    assert found(store) == [1]
    store.close()


def test_migrations_that_race_make_one_schema(url, blank):
    failed: list[BaseException] = []

    def migrate() -> None:
        store = MySQLStore.from_url(url)
        try:
            put(store, new_job(1))
        except BaseException as error:
            failed.append(error)
        store.close()

    threads = [threading.Thread(target=migrate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []
    assert found(MySQLStore.from_url(url)) == [1]


def test_a_migration_that_stays_at_it_is_waited_for_so_long(url, blank, monkeypatch):
    monkeypatch.setattr(checks, "_LOCK_TIMEOUT", 0)
    where, _ = read_url(url)
    with (
        Connections(where).lend() as first,
        checks._locked(first, blank),
        pytest.raises(StoreBusy, match="another migration"),
    ):
        MySQLStore.from_url(url).setup()
    MySQLStore.from_url(url).setup()


def test_it_works_beside_a_migration_that_repeats_itself(family, store):
    with family.connect() as admin:
        for step in schema_steps(store.prefix):
            put(store, new_job(1))
            if "PROCEDURE" not in step:  # a call between DROP and CREATE finds none
                run_sql(admin, step)
    assert found(store) == [1]


def test_an_old_server_is_refused(store, monkeypatch):
    monkeypatch.setattr(checks, "server_version", lambda _: "5.5.5-10.5.29-MariaDB-log")
    with pytest.raises(StoreUnavailable, match=r"10\.5\.29 is too old: Turnout needs 10\.6"):
        store.setup()


def test_the_printed_schema_is_what_setup_runs(url, prefix):
    text = schema_sql(url)
    assert text.startswith("DELIMITER $$")
    assert f"CREATE TABLE IF NOT EXISTS {prefix}ready" in text
    assert f"CREATE PROCEDURE {prefix}exchange_1" in text
    assert "turnout_" not in text.replace(prefix, "")


def test_an_older_schema_is_upgraded_with_its_jobs(family, url, blank):
    store = MySQLStore.from_url(url)
    store.setup()
    put(store, new_job(1))
    with family.connect(autocommit=True) as admin:
        for name in ("mark", "gate", "metric", "metric_source"):
            run_sql(admin, f"DROP TABLE {blank}{name}")
        run_sql(admin, f"UPDATE {blank}meta SET value = '1' WHERE name = 'schema'")
    upgraded = MySQLStore.from_url(url)
    upgraded.setup()
    assert upgraded.mark([Mark(key="k", owner="a", ttl=9)])[0].granted
    assert upgraded.metrics(60) == []
    put(store, new_job(2))  # a worker of the older version goes on
    assert found(upgraded) == [2, 1]
    upgraded.close()
    store.close()
