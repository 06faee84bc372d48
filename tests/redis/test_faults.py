"""The server fails: what was promised holds, and the store works again by itself."""

from __future__ import annotations

import os
import shutil

import pytest

from conformance.builders import (
    T,
    known,
    lease,
    new_job,
    numbers,
    open_epoch,
    put,
    retried,
    settle,
    state_of,
    stats,
    succeeded,
    want,
    worker,
)
from process.rig import wait_until
from support.proxy import Proxy
from turnout.errors import ConfigError, StoreUnavailable
from turnout.job import JobFilter, State

AOF = ("--appendonly", "yes", "--appendfsync")


def works(store, n: int) -> bool:
    try:
        return bool(store.enqueue([new_job(n)]))
    except StoreUnavailable:
        return False


def hold(store, *ns: int):
    """Enqueue and lease these jobs by the server's clock."""
    store.heartbeat(worker(), ttl=60)
    store.enqueue([new_job(n) for n in ns])
    return store.exchange("e1", [], want()).leased


# ---- killed and started again


def test_with_every_write_on_disk_a_killed_server_forgets_nothing(mortal, opened):
    server = mortal(*AOF, "always")
    store = opened(server.url)
    assert store.describe().enqueue_survives == "a power cut"
    first, _second = hold(store, 1, 2)
    store.enqueue([new_job(3)])
    assert store.exchange("e1", [succeeded(first)], None).settled
    server.kill()
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        store.enqueue([new_job(4)])
    server.start()
    wait_until(lambda: works(store, 5), "the server is back", timeout=5)
    states = [state_of(store, n) for n in (1, 2, 3)]
    assert states == [State.SUCCEEDED, State.RUNNING, State.QUEUED]
    assert store.exchange("e1", [], want()).lost is False


@pytest.mark.parametrize("who", ["exchange", "heartbeat", "look"])
def test_settles_of_the_last_second_that_a_power_cut_forgot_are_sent_again(mortal, opened, who):
    server = mortal(*AOF, "everysec")
    store = opened(server.url)
    assert store.describe().enqueue_survives == "a killed process"
    plain, told, unkept, failed = hold(store, 1, 2, 3, 4)
    other = hold(store, 5)  # plain too, under a lease of its own
    kept = server.folder / "before"
    shutil.copytree(server.folder / "appendonlydir", kept)
    outcomes = [
        *map(succeeded, [plain, *other]),
        succeeded(told, result="7"),
        succeeded(unkept, keep=0),
        retried(failed, run_at=2 * T),
    ]
    assert len(store.exchange("e1", outcomes, None).settled) == 5
    before = store.find(JobFilter())
    server.kill()
    # What a kill leaves in the page cache, a power cut takes: the file is as it was before.
    shutil.rmtree(server.folder / "appendonlydir")
    kept.rename(server.folder / "appendonlydir")
    server.start()
    states = {state_of(opened(server.url), n) for n in range(1, 6)}
    assert states == {State.RUNNING}, "the settles are forgotten"
    calls = {
        "exchange": lambda: store.exchange("e1", [], None),
        "heartbeat": lambda: store.heartbeat(worker("e1"), ttl=30.0),
        "look": store.count,
    }
    with pytest.raises(StoreUnavailable):
        calls[who]()
    store.exchange("e1", [], None)
    assert [state_of(store, n) for n in (1, 2, 4, 5)] == [
        State.SUCCEEDED, State.SUCCEEDED, State.QUEUED, State.SUCCEEDED,
    ]  # fmt: skip
    assert store.find(JobFilter()) == before, "everything that was told of them is as it was"


def test_after_a_restart_from_a_snapshot_what_was_settled_since_runs_again(mortal, opened):
    server = mortal()
    store = opened(server.url)
    leased = hold(store, 1)
    with store._lend() as link:
        link.run("CONFIG", "SET", "save", "3600 1")
        link.run("SAVE")
    assert "last snapshot" in " ".join(store.describe().warnings)
    store.exchange("e1", list(map(succeeded, leased)), None)
    server.kill()
    server.start()
    wait_until(lambda: works(store, 2), "the server is back", timeout=5)
    assert state_of(store, 1) is State.RUNNING, "it is leased to a worker that has settled it"
    assert store.heartbeat(worker(), ttl=60).lost
    assert (known(store, 1).state, known(store, 1).crashes) == (State.QUEUED, 0)


def test_without_persistence_everything_is_lost_and_that_was_said(mortal, opened):
    server = mortal()
    store = opened(server.url)
    info = store.describe()
    assert info.enqueue_survives == "nothing"
    assert "every job is lost" in " ".join(info.warnings)
    [job] = hold(store, 1)
    server.kill()
    server.start()
    wait_until(lambda: works(store, 2), "the server is back", timeout=5)
    assert state_of(store, 1) is None
    assert store.exchange("e1", [succeeded(job)], None).lost


# ---- connections


def test_a_lease_whose_reply_was_lost_comes_with_the_next_exchange(store, url, opened):
    open_epoch(store)
    put(store, *(new_job(n) for n in range(10)))
    proxy = Proxy(url)
    through = opened(proxy.url)
    through.exchange("e1", [], None)  # the server knows the script: its first answer is a lease
    proxy.lose_reply()
    with pytest.raises(StoreUnavailable):
        through.exchange("e1", [], want(limit=4))
    assert proxy.lost_replies == 1
    assert [state_of(store, n) for n in range(4)] == [State.RUNNING] * 4, "it was done"
    leased = through.exchange("e1", [], want(limit=4)).leased
    assert sorted(numbers(leased)) == [0, 1, 2, 3], "the same jobs, not four more"
    assert sorted(settle(through, *map(succeeded, leased))) == [0, 1, 2, 3]
    proxy.close()


def test_a_lease_whose_reply_was_lost_outlasts_trips_that_only_settle(store, url, opened):
    open_epoch(store)
    put(store, *(new_job(n) for n in range(10)))
    proxy = Proxy(url)
    through = opened(proxy.url)
    first = through.exchange("e1", [], want(limit=2)).leased
    proxy.lose_reply()
    with pytest.raises(StoreUnavailable):
        through.exchange("e1", [], want(limit=4))
    assert proxy.lost_replies == 1
    wait_until(lambda: state_of(store, 2) is State.RUNNING, "it was done")
    done = sorted(settle(through, *map(succeeded, first)))
    assert done == [0, 1]
    leased = through.exchange("e1", [], want(limit=4)).leased
    assert sorted(numbers(leased)) == [2, 3, 4, 5], "the same jobs: nobody else could ever run them"
    proxy.close()


def test_an_enqueue_whose_reply_was_lost_can_be_repeated(store, url, opened):
    proxy = Proxy(url)
    through = opened(proxy.url)
    through.enqueue([new_job(99)])
    proxy.lose_reply()
    jobs = [new_job(n) for n in range(50)]
    with pytest.raises(StoreUnavailable):
        through.enqueue(jobs)
    assert len(through.enqueue(jobs)) == 50
    assert stats(store).ready == 51
    proxy.close()


def test_a_server_behind_a_dead_network_is_given_up_and_found_again(url, opened):
    proxy = Proxy(url)
    through = opened(f"{proxy.url}?socket_timeout=0.2")
    assert works(through, 1)
    proxy.go_silent()
    with pytest.raises(StoreUnavailable, match="Timeout"):
        through.enqueue([new_job(2)])
    proxy.come_back()
    wait_until(lambda: works(through, 2), "the network is back", timeout=5)
    proxy.go_away()
    assert not works(through, 3)
    proxy.come_back()
    assert wait_until(lambda: works(through, 3), "the network is back", timeout=5)
    proxy.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_parent_and_child_do_not_share_a_connection(store):
    put(store, new_job(1))
    child = os.fork()
    if child == 0:
        try:
            for n in range(100, 200):
                put(store, new_job(n))
            os._exit(0)
        finally:
            os._exit(1)
    for n in range(200, 300):
        assert numbers(put(store, new_job(n))) == [n]
    assert os.waitpid(child, 0)[1] == 0
    assert stats(store).ready == 201


# ---- the server's moods


def test_scripts_that_the_server_forgot_are_sent_again(store, raw):
    put(store, new_job(1))
    raw.script_flush()
    open_epoch(store)
    raw.script_flush()
    assert numbers(lease(store)) == [1]


def test_a_full_server_refuses_jobs_and_lets_workers_drain_it(mortal, opened, raw):
    server = mortal()
    store = opened(server.url)
    store.heartbeat(worker(), ttl=60)
    jobs = [new_job(n, args='{"text":"' + "x" * 500 + '"}') for n in range(2_000)]
    for start in range(0, 2_000, 1_000):
        store.enqueue(jobs[start : start + 1_000])
    store.enqueue([new_job(5_000, run_at=1.0)])
    with store._lend() as link:
        link.run("CONFIG", "SET", "maxmemory", "1mb")
    with pytest.raises(StoreUnavailable, match="memory is full"):
        store.enqueue([new_job(9_000)])
    assert state_of(store, 9_000) is None
    first = store.exchange("e1", [], want(limit=3)).leased
    assert len(first) == 3
    assert store.note("e1", first[1], "{}")
    assert not store.heartbeat(worker(), ttl=60).lost
    ends = [succeeded(first[0]), retried(first[1], run_at=9e9), succeeded(first[2])]
    assert len(store.exchange("e1", ends, want(limit=5)).leased) == 5
    assert store.count()[0].scheduled == 1


def test_a_replica_says_that_it_is_one(mortal, opened):
    primary = mortal()
    replica = mortal("--replicaof", "127.0.0.1", str(primary.port))
    with pytest.raises(StoreUnavailable, match="read-only replica"):
        opened(replica.url).enqueue([new_job(1)])


def test_a_promoted_replica_carries_on_with_leases_and_fences(mortal, opened):
    primary = mortal()
    replica = mortal("--replicaof", "127.0.0.1", str(primary.port))
    store, other = opened(primary.url), opened(replica.url)
    first, _second = hold(store, 1, 2)
    store.enqueue([new_job(3)])
    with store._lend() as link:
        wait_until(lambda: link.run("WAIT", "1", "1000") == 1, "the replica has all", timeout=20)
    primary.kill()
    with other._lend() as link:
        link.run("REPLICAOF", "NO", "ONE")
    assert other.exchange("e1", [succeeded(first)], None).settled
    states = [state_of(other, n) for n in (1, 2, 3)]
    assert states == [State.SUCCEEDED, State.RUNNING, State.QUEUED]
    assert numbers(other.exchange("e1", [], want()).leased) == [3]


def test_a_wrong_password_is_a_fault_of_the_url(mortal, opened):
    server = mortal("--requirepass", "right")
    with pytest.raises(ConfigError, match="password"):
        opened(server.url).enqueue([new_job(1)])
    with pytest.raises(ConfigError, match="password"):
        opened(server.url.replace("//", "//:wrong@")).enqueue([new_job(1)])
    store = opened(server.url.replace("//", "//:right@"))
    assert store.enqueue([new_job(1)])
    assert "right" not in store.describe().location


def test_an_eviction_policy_that_loses_jobs_is_warned_of(mortal, opened):
    server = mortal("--maxmemory-policy", "allkeys-lru")
    assert "noeviction" in " ".join(opened(server.url).describe().warnings)


def test_a_unix_socket_will_do(mortal, opened):
    server = mortal()
    store = opened(f"unix://{server.socket}?db=3")
    assert store.enqueue([new_job(1)])
    assert stats(store).ready == 1
