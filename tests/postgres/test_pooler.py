"""Behind PgBouncer, which gives each transaction another session: all works, found by polling."""

from __future__ import annotations

import os
import time

import psycopg
import pytest

from conformance.builders import lease, new_job, numbers, open_epoch, put, state_of, succeeded, want
from process.rig import Rig, wait_until
from support import postgres
from support.pgbouncer import PgBouncer
from turnout.errors import StoreError
from turnout.job import State
from turnout.store.postgres import PostgresStore


@pytest.fixture(params=["transaction", "session"])
def bouncer(request):
    started = PgBouncer(postgres.base_url(), request.param)
    yield started
    started.close()


@pytest.fixture
def pooled(store, bouncer):
    opened = PostgresStore.from_url(f"{bouncer.url}?schema={store.schema}")
    yield opened
    opened.close()


def test_every_statement_may_go_to_another_session(store, bouncer, pooled):
    open_epoch(pooled)
    outcomes = []
    # More often than a driver needs to begin with prepared statements, and now and then with the
    # session that served us so far in use by somebody else.
    with psycopg.connect(bouncer.url, prepare_threshold=None) as other:
        for n in range(60):
            put(pooled, new_job(n))
            if n % 20 == 10:
                other.execute("SELECT 1")
            elif n % 20 == 0:
                other.rollback()
            leased = pooled.exchange("e1", outcomes, want(limit=1)).leased
            assert numbers(leased) == [n]
            outcomes = [*map(succeeded, leased)]
    pooled.exchange("e1", outcomes, None)
    assert [stats.succeeded for stats in store.count()] == [60]


def test_enqueue_within_through_the_pool(store, bouncer, pooled):
    with psycopg.connect(bouncer.url, prepare_threshold=None) as connection:
        for n in range(20):
            pooled.enqueue([new_job(n)], within=connection)
        assert lease(store) == []
        connection.commit()
    assert state_of(store, 19) is State.QUEUED


def test_a_pooler_that_restarts_costs_one_error(store, bouncer, pooled):
    put(pooled, new_job(1))
    bouncer.stop()
    with pytest.raises(StoreError, match="cannot be reached"):
        put(pooled, new_job(2))
    bouncer.start()
    assert put(pooled, new_job(2)) == [new_job(2).id]


@pytest.mark.process
def test_a_worker_behind_a_pooler_that_restarts(bouncer, tmp_path):
    schema = f"pooled_{os.getpid()}_{time.monotonic_ns()}"
    rig = Rig(tmp_path, f"{bouncer.url}?schema={schema}")
    worker = rig.start(dead_after=30.0)
    ids = [rig.enqueue("note", f"n{n}") for n in range(100)]
    wait_until(lambda: rig.states(ids) == {State.SUCCEEDED: 100}, "all are done")
    bouncer.stop()
    wait_until(lambda: "the store failed" in worker.log or "heartbeat" in worker.log, "it noticed")
    bouncer.start()

    def enqueue():
        try:
            return rig.enqueue("note", "after")
        except StoreError:
            return None

    wait_until(enqueue, "an enqueue works", timeout=5.0)
    rig.until_said("note", "after", timeout=5.0)
    rig.close()
