"""Workers go on while the server has its moods: what was accepted runs, and runs once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from process.rig import HASTY, Rig, wait_until
from support.proxy import Proxy
from turnout.errors import StoreUnavailable
from turnout.job import State

pytestmark = pytest.mark.process
LASTING = {"threads": 4, "heartbeat": 1.0, "dead_after": 30.0}  # no lease ends in these tests


@pytest.fixture
def rig_at(tmp_path) -> Iterator[Callable[[str], Rig]]:
    """Opens rigs on a server's URL; their workers end with the test."""
    rigs: list[Rig] = []

    def make(url: str) -> Rig:
        folder = tmp_path / str(len(rigs))
        folder.mkdir()
        rigs.append(Rig(folder, url))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


def enqueue(rig: Rig, count: int, name: str = "job") -> list[str]:
    note = rig.app.tasks["note"]
    made = rig.app.enqueue_many([note.prepare(f"{name}{n}") for n in range(count)])
    return [job.id for job in made]


def runs(rig: Rig) -> Counter[str]:
    """How often each job ran."""
    return Counter(line[1] for line in rig.ledger.said("note") + rig.ledger.said("end"))


def until_all_ran_once(rig: Rig, ids: list[str]) -> None:
    wait_until(
        lambda: rig.states(ids) == {State.SUCCEEDED: len(ids)}, "all have succeeded", timeout=60
    )
    assert len(runs(rig)) == len(ids)
    assert set(runs(rig).values()) == {1}


def order(url: str, *words: str) -> object:
    """Send one command, as an administrator does."""
    import redis

    with redis.Redis.from_url(url, decode_responses=True) as client:
        return client.execute_command(*words)


# ---- connections


@pytest.mark.parametrize("part", [0.0, 0.5])
def test_answers_that_were_lost_or_cut_make_no_job_run_twice(url, rig_at, part):
    rig, proxy = rig_at(url), Proxy(url)
    nap = rig.app.tasks["nap"]
    made = rig.app.enqueue_many([nap.prepare(f"job{n}", 0.004) for n in range(1_500)])
    worker = rig.start(url=proxy.url, **LASTING)
    for n in range(10):
        wait_until(lambda n=n: len(runs(rig)) > n * 100, "the worker is at work")
        cut_an_answer(proxy, part)
    until_all_ran_once(rig, [job.id for job in made])
    assert "the store failed" in worker.log
    assert "the lease was lost" not in worker.log
    assert "Traceback" not in worker.log
    proxy.close()


def cut_an_answer(proxy: Proxy, part: float) -> None:
    lost = proxy.lost_replies

    def is_cut() -> bool:
        proxy.lose_reply(part)  # again and again: after a failure there may be no connection yet
        return proxy.lost_replies > lost

    wait_until(is_cut, "an answer was cut")


def test_a_worker_cut_off_for_longer_than_its_lease_cannot_end_its_job_and_comes_back(url, rig_at):
    rig, proxy = rig_at(url), Proxy(url)
    job = rig.enqueue("hold", "a")
    cut_off = rig.start(url=f"{proxy.url}?socket_timeout=0.3", threads=1, **HASTY)
    rig.until_said("start", "a")
    proxy.go_silent()
    heir = rig.start(threads=1)
    rig.until_said("start", "a", 2)
    rig.ledger.release("a")
    rig.until_said("end", "a", 2)
    record = rig.until(job, State.SUCCEEDED)
    proxy.come_back()
    cut_off.until_logged("the lease was lost")
    assert rig.record(job) == record, "the late settle has changed nothing"
    assert (record.attempt, record.crashes) == (1, 1)
    wait_until(lambda: rig.at_work(cut_off) == 1, "it has a new epoch")
    heir.stop()
    rig.until(rig.enqueue("note", "b"), State.SUCCEEDED)


def test_a_slow_network_makes_no_job_run_twice(url, rig_at):
    rig, proxy = rig_at(url), Proxy(url)
    worker = rig.start(url=proxy.url, **LASTING)
    proxy.delay = 0.2
    ids = enqueue(rig, 500)
    wait_until(lambda: len(runs(rig)) > 100, "it works, slowly", timeout=30)
    proxy.delay = 0.0
    ids += enqueue(rig, 500, "later")
    until_all_ran_once(rig, ids)
    assert "store failed" not in worker.log


# ---- the server's moods


def test_scripts_flushed_under_load_are_sent_again(mortal, rig_at):
    server = mortal()
    rig = rig_at(server.url)
    rig.start(processes=2, **LASTING)
    ids: list[str] = []
    for n in range(20):
        ids += enqueue(rig, 100, f"round{n}-")
        assert order(server.url, "SCRIPT", "FLUSH")
    until_all_ran_once(rig, ids)


def test_workers_drain_a_full_server_and_it_takes_jobs_again(mortal, rig_at):
    server = mortal()
    rig = rig_at(server.url)
    text = "x" * 2_000
    note = rig.app.tasks["note"]
    made = rig.app.enqueue_many([note.prepare(f"{n}-{text}") for n in range(2_000)])
    full = int(order(server.url, "INFO", "memory")["used_memory"])
    order(server.url, "CONFIG", "SET", "maxmemory", str(full - 500_000))
    with pytest.raises(StoreUnavailable, match="memory is full"):
        note.enqueue("refused")
    rig.start(processes=2, **LASTING)
    ids = [job.id for job in made]
    until_all_ran_once(rig, ids)
    assert int(order(server.url, "INFO", "memory")["used_memory"]) < full - 500_000
    rig.until(note.enqueue("accepted").id, State.SUCCEEDED)


def test_a_server_that_kept_nothing_has_lost_all_and_workers_go_on(mortal, rig_at):
    server = mortal()
    rig = rig_at(server.url)
    assert "every job is lost" in " ".join(rig.store.describe().warnings)
    worker = rig.start(threads=2)
    held = rig.enqueue("hold", "a")
    later = [*enqueue(rig, 1), rig.enqueue("note", "never", delay=3_600)]
    rig.until_said("start", "a")
    rig.until(later[0], State.SUCCEEDED)
    server.kill()
    server.start()
    wait_until(lambda: accepts(rig), "the server is back")
    assert [rig.record(job) for job in (held, *later)] == [None] * 3
    rig.ledger.release("a")
    worker.until_logged(f"job {held} (hold): the lease was lost")
    rig.until(rig.enqueue("note", "after"), State.SUCCEEDED)
    assert "Traceback" not in worker.log


# ---- another server takes over


def copy_all(primary: str) -> None:
    """Wait until the replica has what was written so far."""
    import redis

    with redis.Redis.from_url(primary) as client:
        client.set("copied", 1)  # WAIT is for what this connection wrote, and all before it
        wait_until(lambda: client.wait(1, 1_000) == 1, "the replica has it all", timeout=30)


def accepts(rig: Rig) -> bool:
    try:
        return bool(rig.enqueue("note", "probe"))
    except StoreUnavailable:
        return False


def until_all_succeeded(rig: Rig, ids: list[str]) -> None:
    """Some may have run again: a replica need not know of the last leases and settles."""
    wait_until(
        lambda: rig.states(ids) == {State.SUCCEEDED: len(ids)}, "all have succeeded", timeout=60
    )


def test_workers_follow_when_a_replica_takes_over_the_address(mortal, rig_at):
    primary = mortal()
    replica = mortal("--replicaof", "127.0.0.1", str(primary.port))
    proxy = Proxy(primary.url)
    rig = rig_at(proxy.url)
    worker = rig.start(**LASTING)
    ids = enqueue(rig, 2_000)
    wait_until(lambda: len(runs(rig)) > 100, "the worker is at work")
    copy_all(primary.url)
    primary.kill()
    order(replica.url, "REPLICAOF", "NO", "ONE")
    proxy.move_to(replica.url)
    wait_until(lambda: accepts(rig), "the new primary is found", timeout=20)
    until_all_succeeded(rig, ids)
    rig.until(rig.enqueue("note", "later"), State.SUCCEEDED)
    assert "Traceback" not in worker.log
    proxy.close()


def test_workers_leave_a_primary_that_was_made_a_replica(mortal, rig_at):
    primary = mortal()
    replica = mortal("--replicaof", "127.0.0.1", str(primary.port))
    proxy = Proxy(primary.url)
    rig = rig_at(proxy.url)
    rig.start(**LASTING)
    ids = enqueue(rig, 2_000)
    wait_until(lambda: len(runs(rig)) > 100, "the worker is at work")
    copy_all(primary.url)
    order(replica.url, "REPLICAOF", "NO", "ONE")
    proxy.move_to(replica.url)
    order(primary.url, "REPLICAOF", "127.0.0.1", str(replica.port))  # and it cuts nobody off
    wait_until(lambda: accepts(rig), "the new primary is found", timeout=20)
    until_all_succeeded(rig, ids)
    rig.until(rig.enqueue("note", "later"), State.SUCCEEDED)
    proxy.close()
