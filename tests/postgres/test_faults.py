"""The server fails: what was promised holds, and the store works again by itself."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from conformance.builders import (
    new_job,
    numbers,
    open_epoch,
    put,
    retried,
    settle,
    state_of,
    succeeded,
    unique_job,
    want,
    worker,
)
from process.rig import wait_until
from support import postgres
from support.proxy import Proxy
from turnout.codec import encode_value
from turnout.errors import StoreBusy, StoreError, StoreUnavailable
from turnout.events import Events, JobSucceeded, LeaseLost
from turnout.job import JobFilter, State
from turnout.store.postgres import PostgresStore
from turnout.worker.fetcher import NO_ROOM, Fetcher
from turnout.worker.joblog import JobLog
from turnout.worker.settler import Settler


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


@pytest.mark.parametrize("who", ["exchange", "heartbeat", "look"])
def test_a_settle_that_the_crash_forgot_is_sent_again_whichever_call_met_the_crash(
    mortal, crashing, who
):
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
    calls = {
        "exchange": lambda: crashing.exchange("e1", [], None),
        "heartbeat": lambda: crashing.heartbeat(worker("e1"), ttl=30.0),
        "look": crashing.count,
    }
    with pytest.raises(StoreUnavailable):
        calls[who]()
    crashing.exchange("e1", [], None)
    assert state_of(crashing, 1) is State.SUCCEEDED


def test_an_outcome_whose_lease_the_crash_forgot_is_void(mortal, crashing):
    mortal.stop("fast")
    mortal.start("wal_writer_delay=10s")
    wait_until(lambda: works(crashing, 1), "the server is back")
    open_epoch(crashing)
    bus, told = Events(), []
    for kind in (JobSucceeded, LeaseLost):
        bus.on(kind, told.append)
    settler = Settler(bus, JobLog("none"), "w")
    fetcher = Fetcher(SimpleNamespace(store=crashing), settler, ())
    trip = partial(fetcher.exchange, "e1", lambda _queue: NO_ROOM, lambda _queue: 0)
    [leased] = crashing.exchange("e1", [], want()).leased
    mortal.stop("immediate")
    settler.add(succeeded(leased))
    trip()
    mortal.start()
    wait_until(lambda: trip() and told, "the outcome has left")
    assert state_of(crashing, 1) is State.QUEUED, "the crash has forgotten the lease"
    assert [type(one) for one in told] == [LeaseLost]


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


def test_a_lease_whose_reply_was_lost_outlasts_trips_that_only_settle(store):
    open_epoch(store)
    put(store, *(new_job(n) for n in range(10)))
    proxy = Proxy(postgres.base_url())
    through = PostgresStore.from_url(f"{proxy.url}?schema={store.schema}")
    through.setup()
    first = through.exchange("e1", [], want(limit=2)).leased
    proxy.lose_reply()
    with pytest.raises(StoreUnavailable):
        through.exchange("e1", [], want(limit=4))
    assert proxy.lost_replies == 1
    wait_until(lambda: state_of(store, 2) is State.RUNNING, "it was committed")
    done = sorted(settle(through, *map(succeeded, first)))
    assert done == [0, 1]
    leased = through.exchange("e1", [], want(limit=4)).leased
    assert sorted(numbers(leased)) == [2, 3, 4, 5], "the same jobs: nobody else could ever run them"
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


def test_an_enqueue_whose_reply_was_lost_is_repeated_without_a_double(store):
    proxy = Proxy(postgres.base_url())
    through = PostgresStore.from_url(f"{proxy.url}?schema={store.schema}")
    put(through, new_job(1))
    proxy.lose_reply()
    with pytest.raises(StoreUnavailable):
        through.enqueue([new_job(2)])
    assert proxy.lost_replies == 1
    assert state_of(store, 2) is State.QUEUED, "it was committed"
    assert through.enqueue([new_job(2)]) == [new_job(2).id]
    assert [stats.ready for stats in store.count()] == [2]
    through.close()
    proxy.close()


def test_a_transaction_whose_commit_was_not_answered_is_there_once(store):
    proxy = Proxy(postgres.base_url())
    through = PostgresStore.from_url(f"{proxy.url}?schema={store.schema}")
    open_epoch(through)
    put(through, new_job(1))
    [job] = through.exchange("e1", [], want()).leased
    with pytest.raises(StoreUnavailable), through.transaction() as connection:
        connection.execute(f"CREATE TABLE {store.schema}.charge (n integer)")
        connection.execute(f"INSERT INTO {store.schema}.charge VALUES (1)")
        assert through.exchange("e1", [succeeded(job)], None, within=connection).settled
        proxy.lose_reply()
    assert proxy.lost_replies == 1
    assert state_of(store, 1) is State.SUCCEEDED, "settled with the effect"
    assert settle(through, retried(job, run_at=0.0)) == [], (
        "the retry that follows from the error is void"
    )
    with psycopg.connect(postgres.base_url()) as look:
        assert look.execute(f"SELECT n FROM {store.schema}.charge").fetchall() == [(1,)]
    through.close()
    proxy.close()


# ---- killed, blocked, undone


@contextmanager
def during(store, call):
    """Run a call of the store in a thread, up to where another's lock holds it back."""
    answer: list[object] = []

    def run() -> None:
        try:
            answer.append(call())
        except StoreError as error:
            answer.append(error)

    thread = threading.Thread(target=run)
    with psycopg.connect(postgres.base_url(), autocommit=True) as admin:
        thread.start()
        yield admin, answer, wait_until(lambda: blocked(admin, store), "it waits for a lock")
        thread.join(10)


def blocked(admin, store) -> list[int]:
    return [
        row[0]
        for row in admin.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'turnout' "
            "AND wait_event_type = 'Lock' AND query LIKE %s",
            (f"%{store.schema}%",),
        )
    ]


def test_a_session_killed_in_the_middle_of_an_enqueue_has_recorded_nothing(store):
    with psycopg.connect(postgres.base_url()) as holder:
        store.enqueue([unique_job(1)], within=holder)
        with during(store, lambda: put(store, new_job(2), unique_job(3))) as (admin, answer, pids):
            admin.execute("SELECT pg_terminate_backend(%s)", (pids[0],))
            wait_until(lambda: answer, "the enqueue has failed")
        holder.rollback()
    assert isinstance(answer[0], StoreUnavailable)
    assert (state_of(store, 2), state_of(store, 3)) == (None, None)
    assert works(store, 2)


def test_a_session_killed_in_the_middle_of_an_exchange_has_leased_and_settled_nothing(store):
    open_epoch(store)
    put(store, *(new_job(n) for n in range(4)))
    leased = store.exchange("e1", [], want(limit=2)).leased
    with psycopg.connect(postgres.base_url()) as holder:
        holder.execute(f"LOCK TABLE {store.schema}.trace IN ACCESS EXCLUSIVE MODE")
        outcomes = [*map(succeeded, leased)]
        call = partial(store.exchange, "e1", outcomes, want(limit=2))
        with during(store, call) as (admin, answer, pids):
            admin.execute("SELECT pg_terminate_backend(%s)", (pids[0],))
            wait_until(lambda: answer, "the exchange has failed")
        holder.rollback()
    assert isinstance(answer[0], StoreUnavailable)
    assert [state_of(store, n) for n in range(4)] == [State.RUNNING] * 2 + [State.QUEUED] * 2
    answered = store.exchange("e1", outcomes, want(limit=2))
    assert (len(answered.settled), numbers(answered.leased)) == (2, [2, 3])


def test_an_enqueue_that_loses_a_deadlock_is_made_again(store):
    with psycopg.connect(postgres.base_url()) as holder:
        holder.execute("SET deadlock_timeout = '30s'")  # so that the other side is the victim
        store.enqueue([unique_job(1, "b")], within=holder)
        call = partial(store.enqueue, [unique_job(2, "a"), unique_job(3, "b")])
        with during(store, call) as (admin, answer, _):
            # The enqueue holds "a" and waits for "b"; now the holder of "b" wants "a".
            assert store.enqueue([unique_job(4, "a")], within=holder) == [unique_job(4).id]
            deadlocks = admin.execute("SELECT 1").fetchall()
            holder.commit()
            wait_until(lambda: answer, "the enqueue has ended")
    assert deadlocks
    assert answer == [[None, None]], "both keys are taken by what was committed first"


def test_a_lock_that_is_held_for_longer_than_the_limit_is_told_as_such(store):
    impatient = PostgresStore.from_url(
        f"{postgres.base_url()}?options=-c%20lock_timeout%3D50ms&schema={store.schema}"
    )
    with psycopg.connect(postgres.base_url()) as holder:
        store.enqueue([unique_job(1)], within=holder)
        with pytest.raises(StoreBusy, match="lock timeout"):
            put(impatient, unique_job(2))
    assert state_of(store, 2) is None
    assert works(impatient, 2)
    impatient.close()


def test_a_statement_that_takes_too_long_is_told_as_such(store):
    impatient = PostgresStore.from_url(
        f"{postgres.base_url()}?options=-c%20statement_timeout%3D100ms&schema={store.schema}"
    )
    with psycopg.connect(postgres.base_url()) as holder:
        store.enqueue([unique_job(1)], within=holder)
        with pytest.raises(StoreBusy, match="statement timeout"):
            put(impatient, unique_job(2))
    assert works(impatient, 2)
    impatient.close()


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_stricter_isolation_by_default_changes_nothing(store, level):
    strict = PostgresStore.from_url(
        f"{postgres.base_url()}?options=-c%20default_transaction_isolation%3D"
        f"{level.replace(' ', '%5C%20')}&schema={store.schema}"
    )
    for each in range(4):
        open_epoch(strict, f"e{each}")
    put(strict, *(new_job(n) for n in range(400)))

    def drain(epoch: str) -> int:
        done, leased = 0, strict.exchange(epoch, [], want(limit=5)).leased
        while leased:
            done += len(leased)
            leased = strict.exchange(epoch, [*map(succeeded, leased)], want(limit=5)).leased
        return done

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(drain, [f"e{each}" for each in range(4)])) == 400
    with psycopg.connect(postgres.base_url()) as mine:
        mine.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        mine.execute("SELECT 1")
        strict.enqueue([new_job(500)], within=mine)
    assert state_of(store, 500) is State.QUEUED
    strict.close()


def test_a_fork_after_the_first_use_has_connections_of_its_own(store):
    put(store, new_job(1))
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            put(store, new_job(2))
            store.close()
            code = 0
        finally:
            os._exit(code)
    put(store, new_job(3))
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    put(store, new_job(4))
    assert [state_of(store, n) for n in (1, 2, 3, 4)] == [State.QUEUED] * 4


# ---- full, closed for writing


def test_too_many_connections_are_told_and_pass(mortal, crashing):
    mortal.stop("fast")
    mortal.start("max_connections=8", "superuser_reserved_connections=0")
    wait_until(lambda: works(crashing, 1), "the server is back")
    crashing.close()
    held = [psycopg.connect(mortal.url, autocommit=True)]
    others = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'turnout'"
    wait_until(lambda: not held[0].execute(others).fetchall(), "the store's sessions have ended")
    with pytest.raises(psycopg.OperationalError):
        while True:
            held.append(psycopg.connect(mortal.url))
    with pytest.raises(StoreUnavailable, match="too many clients"):
        put(crashing, new_job(2))
    held.pop().close()
    wait_until(lambda: works(crashing, 2), "there is room again")
    for connection in held:
        connection.close()
    mortal.stop("fast")
    mortal.start()
    wait_until(lambda: works(crashing, 3), "the server is back")


def test_a_full_disk_refuses_the_enqueue_whole(mortal, tmp_path):
    with small_volume(tmp_path) as folder:
        if mortal._user:
            os.chown(folder, *mortal._user)
        with psycopg.connect(mortal.url, autocommit=True) as admin:
            admin.execute(f"CREATE TABLESPACE tiny LOCATION '{folder}'")
        url = f"{mortal.url}?options=-c%20default_tablespace%3Dtiny&schema=full"
        full = PostgresStore.from_url(url)
        full.setup()
        taken = 0
        with pytest.raises(StoreUnavailable, match="its disk is full; nothing was changed"):
            for taken in range(2_000):
                put(full, *(new_job(taken * 10 + n, args=noise()) for n in range(10)))
        assert 0 < taken < 2_000
        assert [stats.ready for stats in full.count()] == [taken * 10], "all ten, or none"
        assert full.find(JobFilter(), limit=1)[0].state is State.QUEUED, "reading needs no space"
        (folder.parent / "filler").unlink()
        wait_until(lambda: works(full, 999_999), "there is space again")
        full.close()
        with psycopg.connect(mortal.url, autocommit=True) as admin:
            admin.execute('DROP SCHEMA "full" CASCADE')
            admin.execute("DROP TABLESPACE tiny")


@contextmanager
def small_volume(folder: Path) -> Iterator[Path]:
    """Give a folder of a small file system, half of which is taken by `filler` beside it."""
    place = folder / "volume"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True, timeout=10).returncode:
        pytest.skip("a full disk needs a small volume, and mounting one needs root")
    for above in (folder, *folder.parents):
        if above.stat().st_mode & 0o005 != 0o005:  # the server runs as somebody else
            above.chmod(0o755)
    try:
        inside = place / "space"
        inside.mkdir()
        (place / "filler").write_bytes(bytes(12_000_000))
        yield inside
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True, timeout=10)


def noise() -> str:
    return encode_value(os.urandom(1_500).hex())


def test_a_read_only_server_says_so(store):
    readonly = f"{postgres.base_url()}?options=-c%20default_transaction_read_only%3Don"
    refused = PostgresStore.from_url(f"{readonly}&schema={store.schema}")
    with pytest.raises(StoreError, match="read-only"):
        put(refused, new_job(1))
    refused.close()
