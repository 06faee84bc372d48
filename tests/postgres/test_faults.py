"""The server fails: what was promised holds, and the store works again by itself."""

from __future__ import annotations

import psycopg
import pytest

from conformance.builders import (
    new_job,
    numbers,
    open_epoch,
    put,
    settle,
    state_of,
    succeeded,
    want,
    worker,
)
from process.rig import wait_until
from support import postgres
from support.proxy import Proxy
from turnout.errors import StoreError, StoreUnavailable
from turnout.job import State
from turnout.store.postgres import PostgresStore


@pytest.fixture
def crashing(mortal):
    opened = PostgresStore.from_url(f"{mortal.url}?schema=crash")
    opened.setup()
    yield opened
    opened.close()
    with psycopg.connect(mortal.url, autocommit=True) as admin:
        admin.execute("DROP SCHEMA crash CASCADE")


def works(store: PostgresStore, n: int) -> bool:
    try:
        return bool(put(store, new_job(n)))
    except StoreUnavailable:
        return False


def test_a_settle_that_the_crash_forgot_is_sent_again(mortal, crashing):
    mortal.stop("fast")
    mortal.start("wal_writer_delay=10s")
    wait_until(lambda: works(crashing, 1), "the server is back")
    open_epoch(crashing)
    leased = crashing.exchange("e1", [], want()).leased
    # A commit that is waited for: the lease is on disk, the settle that follows will not be.
    crashing.heartbeat(worker("e1"), ttl=30.0)
    settle(crashing, *map(succeeded, leased))
    mortal.stop("immediate")
    mortal.start()
    other = PostgresStore.from_url(f"{mortal.url}?schema=crash")
    assert state_of(other, 1) is State.RUNNING, "the crash has forgotten the settle"
    other.close()
    with pytest.raises(StoreUnavailable):
        crashing.exchange("e1", [], None)
    crashing.exchange("e1", [], None)
    assert state_of(crashing, 1) is State.SUCCEEDED


def test_the_store_works_again_after_a_restart(mortal, crashing):
    put(crashing, new_job(1))
    mortal.stop("immediate")
    with pytest.raises(StoreUnavailable, match="cannot be"):
        put(crashing, new_job(2))
    mortal.start()
    wait_until(lambda: works(crashing, 2), "the server is back", timeout=5)
    assert (state_of(crashing, 1), state_of(crashing, 2)) == (State.QUEUED, State.QUEUED)


def test_sessions_that_were_killed_cost_one_error(store):
    put(store, new_job(1))
    with psycopg.connect(postgres.base_url(), autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'turnout' AND pid <> pg_backend_pid()"
        )
    wait_until(lambda: works(store, 2), "the store works")
    assert state_of(store, 2) is State.QUEUED


def test_a_lease_whose_reply_was_lost_comes_with_the_next_exchange(store):
    open_epoch(store)
    put(store, *(new_job(n) for n in range(10)))
    proxy = Proxy(postgres.base_url())
    query = f"?schema={store.schema}"
    through = PostgresStore.from_url(proxy.url + query)
    through.setup()
    proxy.lose_reply()
    with pytest.raises(StoreUnavailable):
        through.exchange("e1", [], want(limit=4))
    assert proxy.lost_replies == 1
    assert [state_of(store, n) for n in range(4)] == [State.RUNNING] * 4, "it was committed"
    leased = through.exchange("e1", [], want(limit=4)).leased
    assert numbers(leased) == [0, 1, 2, 3], "the same jobs, not four more"
    assert settle(through, *map(succeeded, leased)) == [0, 1, 2, 3]
    through.close()
    proxy.close()


def test_a_server_behind_a_dead_network_is_given_up(store):
    proxy = Proxy(postgres.base_url())
    through = PostgresStore.from_url(f"{proxy.url}?schema={store.schema}")
    put(through, new_job(1))
    proxy.go_away()
    assert not works(through, 2)
    assert not works(through, 2)
    proxy.come_back()
    wait_until(lambda: works(through, 2), "the network is back", timeout=5)
    through.close()
    proxy.close()


def test_a_read_only_server_says_so(store):
    readonly = f"{postgres.base_url()}?options=-c%20default_transaction_read_only%3Don"
    refused = PostgresStore.from_url(f"{readonly}&schema={store.schema}")
    with pytest.raises(StoreError, match="read-only"):
        put(refused, new_job(1))
    refused.close()
