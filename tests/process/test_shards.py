"""Several servers behind one store: one is killed, frozen, drained or added while workers run."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from process.rig import Rig, wait_until
from support import valkey
from turnout import Turnout
from turnout.errors import StoreUnavailable
from turnout.job import JobFilter, NewJob, State, Unique
from turnout.store import open_store
from turnout.store.sharded.placement import owner

pytestmark = pytest.mark.process

STEADY = {"heartbeat": 0.2, "dead_after": 30.0, "threads": 4}


@pytest.fixture
def servers() -> Iterator[list[valkey.Server]]:
    """Two servers that keep what they acknowledged when they are killed: `always`, since with
    `everysec` a write is held back for as long as an fsync takes.
    """
    valkey.need()
    settings = ("--appendonly", "yes", "--appendfsync", "always")
    made = [valkey.Server(*settings) for _ in "ab"]
    yield made
    for server in made:
        server.close()


def sharded_url(servers: list[valkey.Server]) -> str:
    """Two shards whose connections give up on silence after a second."""
    return "sharded:" + "|".join(
        f"{name}={server.url}?socket_timeout=1" for name, server in zip("ab", servers, strict=True)
    )


@pytest.fixture
def rig(servers, tmp_path) -> Iterator[Rig]:
    made = Rig(tmp_path, sharded_url(servers))
    yield made
    made.close()


def notes(rig: Rig, name: str, count: int) -> list[str]:
    """Enqueue that many notes, one by one; return their ids."""
    return [rig.enqueue("note", f"{name}-{n}") for n in range(count)]


def noted(rig: Rig) -> Counter[str]:
    return Counter(line[1] for line in rig.ledger.said("note"))


def state_of(rig: Rig, name: str) -> str:
    return next(part.state for part in rig.store.describe().parts if part.name == name)


def on(rig: Rig, name: str, task: str, label: str) -> tuple[str, str]:
    """Enqueue jobs until one lies on that shard; return its id and its label."""
    for n in range(60):
        job_id = rig.enqueue(task, f"{label}-{n}")
        if owner("ab", job_id) == name:
            return job_id, f"{label}-{n}"
        rig.ledger.release(f"{label}-{n}")
    raise AssertionError(f"no id of sixty belongs to {name}")


def keyed_job(app: Turnout, key: str) -> NewJob:
    """Prepare a note with a unique key of our choice."""
    new = app.tasks["note"].prepare(key).new
    return NewJob(id=new.id, task=new.task, queue=new.queue, args=new.args, unique=Unique(key))


def test_a_killed_shard_stops_its_share_alone_and_loses_nothing(rig, servers):
    rig.start(**STEADY)
    held, label = on(rig, "b", "hold", "held")
    rig.until_said("start", label)
    before = notes(rig, "before", 40)
    wait_until(lambda: len(noted(rig)) == 40, "all before the crash have run")

    servers[1].kill()
    during = notes(rig, "during", 40)
    wait_until(lambda: len(noted(rig)) == 80, "all enqueued meanwhile have run, on the other")
    assert state_of(rig, "b") == "away"
    wait_until(lambda: rig.states(during) == {State.SUCCEEDED: 40}, "and are settled")
    keys = {owner("ab", f"key-{n}"): f"key-{n}" for n in range(40)}
    with pytest.raises(StoreUnavailable, match="shard b holds the unique key"):
        rig.store.enqueue([keyed_job(rig.app, keys["b"])])
    assert rig.store.enqueue([keyed_job(rig.app, keys["a"])]) != [None]
    with pytest.raises(StoreUnavailable, match="shard b is away"):
        rig.record(held)
    rig.ledger.release(label)  # it ends while nobody can be told
    rig.until_said("end", label)

    servers[1].start()
    wait_until(lambda: state_of(rig, "b") == "up", "the shard is seen to be back")
    record = rig.until(held)
    assert (record.state, record.attempt, record.crashes) == (State.SUCCEEDED, 1, 0)
    after = notes(rig, "after", 20)
    wait_until(lambda: rig.states(before + during + after) == {State.SUCCEEDED: 100})
    assert set(noted(rig).values()) == {1}, "nothing ran twice"
    assert "Traceback" not in rig.workers[0].log


def test_jobs_of_a_killed_shard_wait_in_it_and_run_when_it_is_back(rig, servers):
    waiting = notes(rig, "waiting", 30)
    theirs = [n for n, job_id in enumerate(waiting) if owner("ab", job_id) == "b"]
    servers[1].kill()
    rig.start(**STEADY)
    wait_until(lambda: len(noted(rig)) == 30 - len(theirs), "the share of the other has run")
    assert not {f"waiting-{n}" for n in theirs} & noted(rig).keys()
    servers[1].start()
    wait_until(lambda: len(noted(rig)) == 30, "the rest has run")
    assert set(noted(rig).values()) == {1}


def test_a_frozen_shard_holds_up_nobody_for_long(rig, servers):
    rig.start(**STEADY)
    notes(rig, "before", 10)
    wait_until(lambda: len(noted(rig)) == 10)
    servers[1].freeze()
    try:
        during = notes(rig, "during", 30)
        wait_until(lambda: len(noted(rig)) >= 40, "the other goes on")
        assert state_of(rig, "b") == "away"
    finally:
        servers[1].thaw()
    wait_until(lambda: state_of(rig, "b") == "up", "the shard is seen to be back")
    wait_until(lambda: rig.states(during) == {State.SUCCEEDED: 30})


def test_a_shard_is_drained_and_another_added_while_jobs_come_and_go(servers, tmp_path):
    first, second = servers
    file = tmp_path / "shards.conf"

    def say(*lines: str) -> None:
        new = file.with_suffix(".new")
        new.write_text("\n".join(("# the shards of this test", *lines)))
        new.replace(file)

    a, b = f"a = {first.url}", f"b = {second.url}"
    c = f"c = sqlite:///{tmp_path}/c.db"
    say(a, b)
    rig = Rig(tmp_path, f"sharded:///{file}")
    try:
        rig.start(**STEADY)
        ids = notes(rig, "both", 20)
        held, label = on(rig, "b", "hold", "held")
        rig.until_said("start", label)

        say(a, b, "drain = b")
        wait_until(lambda: state_of(rig, "b") == "draining", "the file is read again")
        ids += (late := notes(rig, "drained", 30))
        alone = open_store(second.url)
        assert alone.find(JobFilter(ids=tuple(late))) == [], "a draining shard gets no new jobs"
        alone.close()
        rig.ledger.release(label)
        assert rig.until(held).state is State.SUCCEEDED
        wait_until(lambda: "empty" in rig.store.describe().parts[1].note)

        say(a, c)
        wait_until(lambda: "c=" in rig.store.describe().location)
        ids += (both := notes(rig, "added", 40))
        there = {job_id for job_id in both if owner("ac", job_id) == "c"}
        assert 5 < len(there) < 35
        wait_until(lambda: len(noted(rig)) == 90, "all have run, those of the new shard too")
        assert set(noted(rig).values()) == {1}
        wait_until(lambda: rig.states(both) == {State.SUCCEEDED: 40}, "and are settled")
        assert "Traceback" not in rig.workers[0].log
    finally:
        rig.close()


def test_a_killed_worker_loses_nothing_over_files_and_servers_mixed(servers, tmp_path):
    urls = f"a={servers[0].url}|b=sqlite:///{tmp_path}/b.db|c=sqlite:///{tmp_path}/c.db"
    rig = Rig(tmp_path, f"sharded:{urls}")
    try:
        worker = rig.start(heartbeat=0.2, dead_after=30.0, threads=6)
        held = [rig.enqueue("hold", f"held-{n}") for n in range(6)]
        wait_until(lambda: len(rig.ledger.said("start")) == 6, "all are running")
        killed = worker.signal_child(signal.SIGKILL)
        for n in range(6):
            rig.ledger.release(f"held-{n}")
        for job_id in held:
            record = rig.until(job_id)
            assert (record.state, record.attempt, record.crashes) == (State.SUCCEEDED, 1, 1)
        assert all(int(line[2]) != killed for line in rig.ledger.said("end"))
        assert worker.stop() == 0
        assert rig.store.workers() == []
    finally:
        rig.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_shards_survive_a_fork_of_the_enqueuing_process(rig):
    notes(rig, "parent", 5)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if len(notes(rig, "child", 5)) == 5 else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert sum(each.ready for each in rig.store.count()) == 10


def test_a_file_with_a_fault_leaves_the_shards_as_they_were(servers, tmp_path, caplog):
    file = Path(tmp_path / "shards.conf")
    file.write_text(f"a = {servers[0].url}")
    rig = Rig(tmp_path, f"sharded:///{file}")
    try:
        file.write_text("a = nonsense: // by mistake\nby = chance")
        wait_until(lambda: rig.store.describe() and "by is id or depth" in caplog.text)
        assert rig.enqueue("note", "still")
    finally:
        rig.close()


def test_a_shard_with_its_memory_full_takes_no_jobs_and_is_worked_all_the_same(servers, tmp_path):
    import redis

    rig = Rig(tmp_path, sharded_url(servers))
    try:
        theirs = [each for each in notes(rig, "before", 30) if owner("ab", each) == "b"]
        with redis.Redis.from_url(servers[1].url) as client:
            client.config_set("maxmemory", 1)
            client.config_set("maxmemory-policy", "noeviction")
        during = notes(rig, "during", 30)
        part = rig.store.describe().parts[1]
        assert (part.state, part.jobs) == ("up", len(theirs))
        assert "its memory is full" in part.note
        rig.start(**STEADY)
        wait_until(lambda: len(noted(rig)) == 60, "all have run, those of the full one too")
        wait_until(lambda: rig.states(theirs + during) == {State.SUCCEEDED: len(theirs) + 30})
    finally:
        rig.close()
