"""The server itself ends what takes longer than the caller waits."""

from __future__ import annotations

import psycopg
import pytest

from conformance.builders import new_job, numbers, put, unique_job
from process.rig import wait_until
from support import postgres
from support.pgbouncer import PgBouncer
from turnout.errors import StoreBusy, StoreSlow
from turnout.job import JobFilter
from turnout.store.patience import patient
from turnout.store.postgres import PostgresStore
from turnout.store.postgres.connection import Connections

WORKING = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s"


@pytest.fixture
def connections():
    opened = Connections(postgres.base_url())
    yield opened
    opened.close()


def timeout_of(connection) -> str:
    return connection.execute("SHOW statement_timeout").fetchone()[0]


def test_the_server_stops_working_on_it(connections):
    with (
        pytest.raises(StoreSlow, match="statement timeout"),
        patient(0.2),
        connections.lend() as connection,
    ):
        connection.execute("SELECT pg_sleep(600) AS nobody_waits")
    with psycopg.connect(postgres.base_url()) as other:
        row = other.execute(WORKING, ["SELECT pg_sleep(600) AS nobody_waits%"]).fetchone()
    assert row == (0,)
    with connections.lend() as next_one:
        assert timeout_of(next_one) == "0"


def test_a_lent_connection_keeps_no_bound(connections):
    with patient(60.0), connections.lend() as connection:
        assert timeout_of(connection) not in {"0", ""}
    with connections.lend() as same:
        assert (same is connection, timeout_of(same)) == (True, "0")


def test_a_timeout_of_the_url_s_own_comes_back():
    connections = Connections(f"{postgres.base_url()}?options=-c%20statement_timeout%3D77s")
    with patient(5.0), connections.lend() as connection:
        assert timeout_of(connection) != "77s"
    with connections.lend() as same:
        assert timeout_of(same) == "77s"
    connections.close()


def test_a_change_that_is_ended_is_undone(store):
    with psycopg.connect(postgres.base_url()) as holder:
        store.enqueue([unique_job(1)], within=holder)
        with pytest.raises(StoreSlow, match="statement timeout"), patient(0.2):
            put(store, new_job(5), unique_job(2))
        holder.rollback()
    assert store.find(JobFilter()) == []
    put(store, new_job(5), unique_job(2))
    assert sorted(numbers(store.find(JobFilter()))) == [2, 5]


def test_behind_a_pooler_no_setting_is_left_with_anybody(store):
    bouncer = PgBouncer(postgres.base_url(), "transaction")
    pooled = PostgresStore.from_url(f"{bouncer.url}?schema={store.schema}")
    with patient(60.0):
        put(pooled, new_job(1))
        assert numbers(pooled.find(JobFilter())) == [1]
    with psycopg.connect(bouncer.url, prepare_threshold=None) as other:
        assert timeout_of(other) == "0"
    pooled.close()
    bouncer.close()


def test_another_s_lock_timeout_is_told_as_busy(store):
    url = f"{postgres.base_url()}?options=-c%20lock_timeout%3D50ms&schema={store.schema}"
    impatient = PostgresStore.from_url(url)
    with psycopg.connect(postgres.base_url()) as holder:
        store.enqueue([unique_job(1)], within=holder)
        with pytest.raises(StoreBusy, match="lock timeout") as caught, patient(60.0):
            put(impatient, unique_job(2))
    assert not isinstance(caught.value, StoreSlow)
    wait_until(lambda: bool(put(impatient, unique_job(2))), "the holder is gone")
    impatient.close()
