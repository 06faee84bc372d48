"""The server fails: what was promised holds, and the store works again by itself."""

from __future__ import annotations

import os
import signal
import threading

import pymysql
import pytest

from conformance.builders import (
    T,
    job_id,
    known,
    lease,
    new_job,
    numbers,
    open_epoch,
    put,
    run_sql,
    settle,
    state_of,
    stats,
    succeeded,
    unique_job,
    want,
)
from process.rig import wait_until
from support import mysql
from support.proxy import Proxy
from turnout.errors import StoreBusy, StoreError, StoreUnavailable
from turnout.job import State
from turnout.store.mysql import MySQLStore
from turnout.store.mysql import connection as mysql_connection


@pytest.fixture
def crashing(mortal):
    mortal.revive()
    opened = MySQLStore.from_url(f"{mortal.url}?prefix=crash_")
    opened.setup()
    yield opened
    opened.close()
    with mysql.connect(mortal.admin_url) as admin:
        for name in mysql.tables(admin, "crash_"):
            run_sql(admin, f"DROP TABLE {name}")


def works(store: MySQLStore, n: int) -> bool:
    try:
        return bool(put(store, new_job(n)))
    except StoreUnavailable:
        return False


def sessions(connection) -> list[int]:
    """The other sessions of this connection's user."""
    query = (
        "SELECT id FROM information_schema.processlist "
        "WHERE user = SUBSTRING_INDEX(USER(), '@', 1) AND id <> CONNECTION_ID()"
    )
    return [row[0] for row in run_sql(connection, query)]


def test_the_store_works_again_after_a_crash(mortal, crashing):
    put(crashing, new_job(1))
    mortal.stop(signal.SIGKILL)
    with pytest.raises(StoreUnavailable, match="cannot be"):
        put(crashing, new_job(2))
    mortal.start()
    wait_until(lambda: works(crashing, 2), "the server is back", timeout=5)
    assert (state_of(crashing, 1), state_of(crashing, 2)) == (State.QUEUED, State.QUEUED)


def test_a_restart_under_load_loses_nothing_that_was_confirmed(mortal, crashing):
    confirmed: list[int] = []
    stop = threading.Event()

    def enqueue(first: int) -> None:
        for n in range(first, first + 100_000):
            if stop.is_set():
                return
            if works(crashing, n):
                confirmed.append(n)

    threads = [threading.Thread(target=enqueue, args=(n,)) for n in (1_000_000, 2_000_000)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(confirmed) > 100, "load")
    mortal.stop(signal.SIGKILL)
    mortal.start()
    before = len(confirmed)
    wait_until(lambda: len(confirmed) > before + 100, "load again", timeout=5)
    stop.set()
    for thread in threads:
        thread.join(10)
    mortal.revive()  # MariaDB has ended by itself after a recovery: one crash more
    open_epoch(crashing)
    leased: set[int] = set()
    while some := lease(crashing, limit=1_000):
        leased.update(numbers(some))
        settle(crashing, *map(succeeded, some))
    assert leased >= set(confirmed)
    assert stats(crashing).running == 0


def test_sessions_that_were_killed_cost_one_error(family, store):
    put(store, new_job(1))
    with family.connect() as admin:
        for session in sessions(admin):
            run_sql(admin, f"KILL {session}")
    wait_until(lambda: works(store, 2), "the store works")
    assert state_of(store, 2) is State.QUEUED


def test_a_statement_that_is_killed_in_the_middle_has_done_nothing(family, store):
    with family.connect() as holder:
        store.enqueue([unique_job(1)], within=holder)
        failed: list[BaseException] = []

        def wait_for_the_key() -> None:
            try:
                put(store, new_job(2), unique_job(3))
            except StoreError as error:
                failed.append(error)

        thread = threading.Thread(target=wait_for_the_key)
        thread.start()
        query = (
            "SELECT id FROM information_schema.processlist "
            f"WHERE info LIKE '%%{store.prefix}uniq%%' AND id <> CONNECTION_ID()"
        )
        with family.connect() as admin:
            [(session,)] = wait_until(lambda: run_sql(admin, query), "it waits")
            run_sql(admin, f"KILL {session}")
        thread.join(10)
        assert isinstance(failed[0], StoreUnavailable)
        holder.rollback()
    assert (state_of(store, 2), state_of(store, 3)) == (None, None)
    assert put(store, new_job(2), unique_job(3)) == [job_id(2), job_id(3)]


def test_a_lease_whose_reply_was_lost_comes_with_the_next_exchange(family, store):
    open_epoch(store)
    put(store, *(new_job(n) for n in range(10)))
    proxy = Proxy(family.base_url())
    through = MySQLStore.from_url(f"{proxy.url}?prefix={store.prefix}")
    through.setup()
    proxy.lose_reply()
    with pytest.raises(StoreUnavailable):
        through.exchange("e1", [], want(limit=4))
    assert proxy.lost_replies == 1
    # The server goes on with the statements that it has read.
    wait_until(lambda: state_of(store, 0) is State.RUNNING, "it was committed")
    leased = through.exchange("e1", [], want(limit=4)).leased
    assert numbers(leased) == [0, 1, 2, 3], "the same jobs, not four more"
    assert settle(through, *map(succeeded, leased)) == [0, 1, 2, 3]
    through.close()
    proxy.close()


def test_a_lease_whose_reply_was_lost_outlasts_trips_that_only_settle(family, store):
    open_epoch(store)
    put(store, *(new_job(n) for n in range(10)))
    proxy = Proxy(family.base_url())
    through = MySQLStore.from_url(f"{proxy.url}?prefix={store.prefix}")
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


def test_an_enqueue_whose_reply_was_lost_can_be_repeated(family, store):
    proxy = Proxy(family.base_url())
    through = MySQLStore.from_url(f"{proxy.url}?prefix={store.prefix}")
    through.setup()
    proxy.lose_reply()
    with pytest.raises(StoreUnavailable):
        put(through, new_job(1))
    assert put(through, new_job(1)) == [job_id(1)]
    assert stats(store).ready == 1
    through.close()
    proxy.close()


def test_a_server_behind_a_dead_network_is_given_up(family, store):
    proxy = Proxy(family.base_url())
    through = MySQLStore.from_url(f"{proxy.url}?prefix={store.prefix}")
    put(through, new_job(1))
    proxy.go_away()
    assert not works(through, 2)
    assert not works(through, 2)
    proxy.come_back()
    wait_until(lambda: works(through, 2), "the network is back", timeout=5)
    through.close()
    proxy.close()


def test_a_deadlock_is_tried_again(family, store, monkeypatch):
    # Two callers take the same two keys in opposite order, which enqueue itself never does.
    pauses: list[float] = []
    real = mysql_connection.time.sleep
    monkeypatch.setattr(mysql_connection.time, "sleep", lambda s: (pauses.append(s), real(s)))
    with family.connect() as holder:
        store.enqueue([unique_job(1, "b")], within=holder)
        answers: list[object] = []
        batch = (unique_job(2, "a"), unique_job(3, "b"))
        thread = threading.Thread(target=lambda: answers.extend(put(store, *batch)))
        thread.start()
        query = (
            "SELECT 1 FROM information_schema.processlist "
            f"WHERE info LIKE '%%{store.prefix}uniq%%' AND id <> CONNECTION_ID()"
        )
        with family.connect() as admin:
            wait_until(lambda: run_sql(admin, query), "it waits for b")
        # The holder has done more, so that the server gives up the other.
        more = ", ".join(["(UUID())"] * 100)
        run_sql(holder, f"INSERT INTO {store.prefix}cancel VALUES {more}")
        store.enqueue([unique_job(4, "a")], within=holder)
        holder.commit()
        thread.join(15)
    assert answers == [None, None]
    assert pauses, "the server took it for a deadlock"


def test_a_lock_that_stays_is_given_up_in_the_end(family, store, monkeypatch):
    monkeypatch.setitem(mysql_connection.retried.__kwdefaults__, "seconds", 0.1)
    session = mysql_connection._SESSION.replace("lock_wait_timeout = 10", "lock_wait_timeout = 1")
    monkeypatch.setattr(mysql_connection, "_SESSION", session)
    store.close()
    with family.connect() as holder:
        store.enqueue([unique_job(1)], within=holder)
        with pytest.raises(StoreBusy, match="1205"):
            put(store, unique_job(2))
        holder.rollback()
    assert put(store, unique_job(2)) == [job_id(2)]


def test_too_many_connections_say_so_and_pass(mortal, crashing):
    crashing.close()
    taken = [mysql.connect(mortal.url)]
    wait_until(lambda: not sessions(taken[0]), "the store's sessions have ended")
    with pytest.raises(pymysql.err.OperationalError, match="1040"):
        for _ in range(100):
            taken.append(mysql.connect(mortal.url))
    with pytest.raises(StoreUnavailable, match="too many connections"):
        put(crashing, new_job(1))
    for connection in taken:
        connection.close()
    wait_until(lambda: works(crashing, 1), "a connection is free", timeout=5)


def only_so_large(megabytes: int) -> tuple[str, str]:
    """The settings of a server that keeps all tables in one file, which may grow so far."""
    file = f"ibdata1:12M:autoextend:max:{megabytes}M"
    return "--innodb-file-per-table=0", f"--innodb-data-file-path={file}"


def test_a_full_disk_refuses_the_enqueue_whole_and_what_was_confirmed_is_done_later(mortal):
    mortal.stop(signal.SIGTERM)
    mortal.start(*only_so_large(48))
    full = MySQLStore.from_url(f"{mortal.url}?prefix=full_")
    full.setup()
    open_epoch(full)
    taken = 0
    with pytest.raises(StoreUnavailable, match="its disk is full; nothing was changed"):
        for taken in range(500):
            put(full, *(new_job(taken * 10 + n, args=noise()) for n in range(10)))
    assert 0 < taken < 500
    assert stats(full).ready == taken * 10, "all ten, or none"
    assert state_of(full, 0) is State.QUEUED, "reading needs no space"
    full.close()
    mortal.stop(signal.SIGTERM)
    mortal.start(*only_so_large(200))
    wait_until(lambda: works(full, 999_999), "there is space again")
    done: set[int] = set()
    while some := lease(full, limit=100):
        done.update(settle(full, *map(succeeded, some)))
    assert done == {*range(taken * 10), 999_999}
    full.close()
    with mysql.connect(mortal.admin_url) as admin:
        for name in mysql.tables(admin, "full_"):
            run_sql(admin, f"DROP TABLE {name}")
    mortal.stop(signal.SIGTERM)
    mortal.start()


def noise() -> str:
    """Arguments that no page holds many of."""
    return f'[["{os.urandom(15_000).hex()}"],{{}}]'


def test_a_read_only_server_says_so_and_is_used_again(mortal, crashing):
    put(crashing, new_job(1))
    with mysql.connect(mortal.admin_url) as admin:
        run_sql(admin, "SET GLOBAL read_only = 1")
        with pytest.raises(StoreUnavailable, match="read-only"):
            put(crashing, new_job(2))
        assert "the server is read-only" in crashing.describe().warnings
        run_sql(admin, "SET GLOBAL read_only = 0")
    assert works(crashing, 2)


def test_weak_settings_are_told(mortal, crashing):
    assert crashing.describe().enqueue_survives == "a power cut"
    with mysql.connect(mortal.admin_url) as admin:
        run_sql(admin, "SET GLOBAL innodb_flush_log_at_trx_commit = 2")
        info = crashing.describe()
        run_sql(admin, "SET GLOBAL innodb_flush_log_at_trx_commit = 1")
    assert info.enqueue_survives == "a killed process"
    assert info.warnings == ("innodb_flush_log_at_trx_commit is 2, not 1",)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_in_the_middle_of_work_shares_no_connection(store):
    put(store, new_job(0))
    pids = []
    for child in range(3):
        pid = os.fork()
        if pid == 0:
            try:
                for n in range(20):
                    put(store, new_job(100 + 20 * child + n))
                os._exit(0)
            finally:
                os._exit(2)
        pids.append(pid)
    for n in range(1, 21):
        put(store, new_job(n))
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    assert stats(store).ready == 81


def test_a_long_reader_changes_nothing_of_what_is_leased(family, store):
    open_epoch(store)
    with family.connect() as reader:
        reader.query("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        seen: list[int] = []
        for n in range(20):
            put(store, *(new_job(100 * n + each) for each in range(50)))
            jobs = lease(store)
            seen += numbers(jobs)
            settle(store, *map(succeeded, jobs))
        assert seen == [100 * n + each for n in range(20) for each in range(50)]
        assert run_sql(reader, f"SELECT COUNT(*) FROM {store.prefix}job") == [(0,)]
    assert known(store, 49, now=T).state is State.SUCCEEDED
