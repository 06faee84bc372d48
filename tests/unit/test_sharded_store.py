"""The sharded store over memory stores that can be made to fail."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from conformance.builders import (
    T,
    job_id,
    lease,
    new_job,
    numbers,
    open_epoch,
    put,
    retried,
    running,
    settle,
    state_of,
    stop_epoch,
    succeeded,
    unique_job,
    want,
    worker,
)
from turnout.errors import StoreBusy, StoreSlow, StoreUnavailable, WithinError
from turnout.job import Exchanged, JobFilter, LeasedJob, Outcome, State, Unique
from turnout.store.memory import MemoryStore
from turnout.store.patience import patient
from turnout.store.sharded import ShardedStore, shards
from turnout.store.sharded.placement import owner
from turnout.worker.fetcher import Fetcher
from turnout.worker.joblog import JobLog
from turnout.worker.settler import Settler

VERBS = {"setup", "describe", "enqueue", "exchange", "note", "heartbeat", "reap", "wait", "find"}
VERBS |= {"count", "change", "pause", "workers", "prune"}


class Fragile(MemoryStore):
    """A memory store; `broken` are the verbs that fail."""

    broken: frozenset[str] = frozenset()
    calls: Counter[str]

    def __getattribute__(self, name):
        if name in VERBS:
            self.calls[name] += 1
            if name in self.broken:
                raise StoreUnavailable(f"{name} fails")
        return super().__getattribute__(name)


class Rig:
    """A sharded store of fragile ones, by name."""

    def __init__(self, names: str, *settings: str) -> None:
        self.names = names
        self.store = ShardedStore(
            "sharded:" + "|".join([*(f"{name}=memory:" for name in names), *settings])
        )
        self.parts: dict[str, Fragile] = {}
        for name, shard in self.store._shards.view().by_name.items():
            shard.store = self.parts[name] = Fragile()
            shard.store.calls = Counter()

    def fail(self, name: str, *verbs: str) -> None:
        self.parts[name].broken = frozenset(verbs or VERBS)

    def mend(self, name: str) -> None:
        """Let a shard work again, and wait until that has been noticed."""
        self.parts[name].broken = frozenset()
        health = self.shard(name).health
        until(lambda: not health.is_to_ask)
        health.back_at = float("-inf")  # long ago: the next failure is no relapse

    def shard(self, name: str):
        return self.store._shards.view().by_name[name]

    def on(self, name: str, count: int = 1) -> list[int]:
        """Return the first numbers of jobs that belong to a shard."""
        found = (n for n in range(10_000) if owner(self.names, job_id(n)) == name)
        return [next(found) for _ in range(count)]

    def at(self, name: str) -> list[int]:
        """Return the numbers of the jobs that a shard holds."""
        return numbers(self.parts[name].find(JobFilter(), limit=10_000, now=T))


def until(condition, timeout: float = 15.0) -> None:
    pause, deadline = threading.Event(), time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        pause.wait(0.005)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig("ab")
    yield made
    made.store.close()


def key_of(name: str, names: str = "ab") -> str:
    return next(f"k{n}" for n in range(1_000) if owner(names, f"k{n}") == name)


# ---- enqueue


def test_jobs_go_where_their_ids_belong(rig):
    put(rig.store, *(new_job(n) for n in range(40)))
    for name in "ab":
        assert sorted(rig.at(name)) == [n for n in range(40) if owner("ab", job_id(n)) == name]


def test_while_a_shard_is_away_jobs_go_to_the_next(rig):
    rig.fail("b")
    assert numbers(put(rig.store, *(new_job(n) for n in range(40)))) == list(range(40))
    assert sorted(rig.at("a")) == list(range(40))
    tried = rig.parts["b"].calls["enqueue"]
    put(rig.store, *(new_job(n) for n in range(40, 60)))
    assert rig.parts["b"].calls["enqueue"] == tried, "one that is away is not called"
    rig.mend("b")
    until(lambda: rig.shard("b").health.takes_jobs)
    put(rig.store, *(new_job(n) for n in range(60, 100)))
    assert rig.at("b")


def test_a_connection_gone_stale_is_tried_again_at_once(rig, monkeypatch):
    [n] = rig.on("a")
    fragile, enqueue = rig.parts["a"], MemoryStore.enqueue
    answers = iter([StoreUnavailable("stale"), None])

    def once(jobs, **options):
        error = next(answers)
        if error is not None:
            raise error
        return enqueue(fragile, jobs, **options)

    monkeypatch.setattr(fragile, "enqueue", once)
    put(rig.store, new_job(n))
    assert rig.at("a") == [n]
    assert not rig.shard("a").health.is_away


def test_a_key_goes_to_its_shard_or_nowhere_and_nothing_is_recorded(rig):
    key = key_of("b")
    rig.fail("b")
    rig.shard("b").failed("as seen before")
    with pytest.raises(StoreUnavailable, match="shard b holds the unique key"):
        put(rig.store, new_job(1), unique_job(2, key), unique_job(3, key_of("a")))
    assert rig.at("a") == []
    assert numbers(put(rig.store, unique_job(3, key_of("a")))) == [3]
    rig.mend("b")
    assert numbers(put(rig.store, unique_job(2, key))) == [2]
    assert put(rig.store, unique_job(4, key)) == [None]


def test_with_every_shard_away_an_enqueue_names_them_all(rig):
    rig.fail("a")
    rig.fail("b")
    with pytest.raises(StoreUnavailable, match=r"a: \w+ fails; b: \w+ fails"):
        put(rig.store, *(new_job(n) for n in range(20)))
    with pytest.raises(StoreUnavailable):
        rig.store.count()


def test_a_shard_that_only_takes_no_jobs_is_still_worked(rig):
    put(rig.store, *(new_job(n) for n in range(20)))
    held = rig.at("b")
    rig.fail("b", "enqueue")
    put(rig.store, *(new_job(n) for n in range(20, 40)))
    assert rig.at("b") == held
    assert not rig.shard("b").health.is_away
    assert rig.store.describe().parts[1].note == "takes no jobs: enqueue fails"
    until(lambda: not rig.shard("b").health.is_to_ask)
    open_epoch(rig.store)
    assert sorted(numbers(lease(rig.store))) == list(range(40))


def test_by_depth_the_emptier_of_two_gets_the_job():
    rig = Rig("ab", "by=depth")
    put(rig.parts["a"], *(new_job(n, "mail") for n in range(1_000, 1_500)))
    put(rig.store, new_job(0, "mail"))
    until(lambda: rig.shard("a").ready["mail"] >= 500)
    put(rig.store, *(new_job(n, "mail") for n in range(1, 400)))
    assert len(rig.at("a")) <= 501
    assert len(rig.at("b")) >= 399
    put(rig.store, *(new_job(n, "other") for n in range(2_000, 2_400)))
    other = sum(each.ready for each in rig.parts["a"].count(now=T) if each.queue == "other")
    assert 150 < other < 250, "each queue for itself"
    rig.store.close()


def test_a_connection_of_the_caller_is_refused_with_the_reason(rig):
    with pytest.raises(WithinError, match="which shard's database"):
        rig.store.enqueue([new_job(1)], within=object())


# ---- keys that move


@pytest.fixture(params=["drain=b", "new=a"])
def moving(request) -> Iterator[Rig]:
    """Keys of b belong to a by now: b is drained, or a is new."""
    made = Rig("ab", request.param)
    yield made
    made.store.close()


def test_a_key_held_where_it_was_is_taken(moving):
    key = key_of("b") if "b" in moving.store._shards.view().layout.drain else key_of("a")
    put(moving.parts["b"], unique_job(1, key))
    assert put(moving.store, unique_job(2, key)) == [None]
    assert moving.at("a") == []
    assert moving.at("b") == [1]


def test_a_key_free_where_it_was_is_taken_where_it_belongs_now(moving):
    key = key_of("b") if "b" in moving.store._shards.view().layout.drain else key_of("a")
    for until_when in ("start", "finish", "time"):
        n = len(until_when)
        unique = Unique(f"{key}", until_when, 60.0)
        assert numbers(put(moving.store, new_job(n, unique=unique))) == [n]
        assert (moving.at("a"), moving.at("b")) == ([n], [])
        assert state_of(moving.store, n) is State.QUEUED
        moving.parts["a"].change(JobFilter(), "delete", now=T)
        if until_when != "time":
            assert numbers(put(moving.parts["b"], unique_job(99, key))) == [99], "nothing is left"
            moving.parts["b"].change(JobFilter(), "delete", now=T)


def test_a_repeated_enqueue_of_a_job_that_runs_where_it_was_is_known(moving):
    key = key_of("b") if "b" in moving.store._shards.view().layout.drain else key_of("a")
    running(moving.parts["b"], unique_job(1, key))
    assert numbers(put(moving.store, unique_job(1, key))) == [1]
    assert (moving.at("a"), moving.at("b")) == ([], [1])
    assert moving.parts["b"].find(JobFilter(), now=T)[0].state is State.RUNNING


def test_a_draining_shard_gets_nothing_and_is_worked_empty():
    rig = Rig("ab", "drain=b")
    put(rig.parts["b"], *(new_job(n) for n in range(100, 105)))
    put(rig.store, *(new_job(n) for n in range(20)))
    assert sorted(rig.at("a")) == list(range(20))
    assert rig.store.describe().parts[1].note == "5 jobs left"
    open_epoch(rig.store)
    jobs = lease(rig.store)
    assert len(settle(rig.store, *map(succeeded, jobs))) == 25
    assert rig.store.describe().parts[1].note == "empty: it can be taken out"
    rig.store.close()


# ---- exchange


def test_each_shard_gets_its_share_of_the_leases(rig):
    put(rig.store, *(new_job(n) for n in range(400)))
    open_epoch(rig.store)
    jobs = [job for _ in range(10) for job in lease(rig.store, limit=10)]
    assert Counter(owner("ab", job.id) for job in jobs) == {"a": 50, "b": 50}


def test_what_a_shard_that_is_away_was_to_settle_comes_back_to_be_sent_again(rig):
    jobs = running(rig.store, *(new_job(n) for n in range(20)))
    ours = [n for n in range(20) if owner("ab", job_id(n)) == "a"]
    theirs = {job_id(n) for n in range(20)} - {job_id(n) for n in ours}
    rig.fail("b")
    outcomes = [succeeded(job) for job in jobs]
    answer = rig.store.exchange("e1", outcomes, None, now=T)
    assert sorted(numbers(answer.settled)) == ours
    assert answer.away == theirs
    calls = rig.parts["b"].calls["exchange"]
    again = [one for one in outcomes if one.job.id in answer.away]
    assert rig.store.exchange("e1", again, None, now=T).away == theirs
    assert rig.parts["b"].calls["exchange"] == calls, "one that is away is not called"
    rig.mend("b")
    assert set(rig.store.exchange("e1", again, None, now=T).settled) == theirs


def test_a_worker_keeps_such_outcomes_and_tells_nobody_yet(rig):
    jobs = running(rig.store, *(new_job(n) for n in range(20)))
    rig.fail("b")

    class App:
        store = rig.store
        events = None

    told: list[Outcome] = []
    settler = Settler(Silent(), JobLog("none"), "w")
    settler._job_log.write = told.extend
    fetcher = Fetcher(App, settler, ())
    for job in jobs:
        settler.add(succeeded(job))
    fetcher.exchange("e1", lambda _queue: -1_000_000, lambda _queue: 0)
    theirs = {job.id for job in jobs if owner("ab", job.id) == "b"}
    assert len(settler) == settler.away == len(theirs)
    assert {one.job.id for one in told} == {job.id for job in jobs} - theirs
    rig.mend("b")
    fetcher.exchange("e1", lambda _queue: -1_000_000, lambda _queue: 0)
    assert (len(settler), settler.away, len(told)) == (0, 0, 20)


class Silent:
    def wants(self, _kind: object) -> bool:
        return False

    def emit(self, event: object) -> None:
        raise AssertionError(f"nobody wants {event}")


def test_one_shard_that_took_the_worker_for_dead_costs_only_its_own(rig):
    jobs = running(rig.store, *(new_job(n) for n in range(20)))
    theirs = {job.id for job in jobs if owner("ab", job.id) == "b"}
    assert {reaped.id for reaped in rig.parts["b"].reap(epoch="e1", now=T)} == theirs
    answer = rig.store.exchange("e1", [succeeded(job) for job in jobs[:10]], None, now=T)
    assert not answer.lost
    assert not answer.away
    assert set(answer.settled) == {job.id for job in jobs[:10]} - theirs
    orders = rig.store.heartbeat(worker("e1"), ttl=30, now=T)
    assert (orders.lost, orders.gone) == (False, theirs)
    assert [seen.epoch for seen in rig.store.workers(now=T)] == ["e1"]
    again = lease(rig.store)
    assert {job.id for job in again} == theirs
    assert len(settle(rig.store, *map(succeeded, [*again, *jobs[10:]]))) == len(theirs) + len(
        [job for job in jobs[10:] if job.id not in theirs]
    )
    assert rig.store.reap(epoch="e1", now=T) == []
    assert rig.store.heartbeat(worker("e1"), ttl=30, now=T).lost


def test_a_shard_that_is_back_is_not_reaped_before_its_workers_can_tell(rig):
    running(rig.store, *(new_job(n) for n in range(20)))
    rig.fail("b")
    assert not rig.store.heartbeat(worker(), ttl=30, now=T + 25).lost
    rig.mend("b")
    rig.shard("b").health.back_at = time.monotonic()
    assert rig.store.reap(now=T + 40) == []
    rig.store.heartbeat(worker(), ttl=30, now=T + 45)
    assert len(rig.store.exchange("e1", [], None, now=T + 45).settled) == 0
    assert {record.state for record in rig.store.find(JobFilter(), now=T)} == {State.RUNNING}


def test_a_job_that_reached_two_shards_is_run_twice_and_shown_once(rig):
    for name in "ab":
        put(rig.parts[name], new_job(1))
    open_epoch(rig.store)
    first: list[LeasedJob] = lease(rig.store)
    assert numbers(rig.store.find(JobFilter(), now=T)) == [1]
    assert settle(rig.store, *map(succeeded, first)) == [1] * len(first)
    rest = lease(rig.store, now=T + 1e10)
    assert len(first) + len(rest) == 2
    settle(rig.store, *map(succeeded, rest), now=T + 1e10)
    assert rig.store.count(now=T)[0].running == 0


# ---- operators


def test_a_look_up_that_finds_nothing_while_a_shard_is_away_does_not_say_no(rig):
    [ours], [theirs] = rig.on("a"), rig.on("b")
    put(rig.store, new_job(ours), new_job(theirs))
    rig.fail("b")
    assert numbers(rig.store.find(JobFilter(ids=(job_id(ours),)), now=T)) == [ours]
    for call in (
        lambda: rig.store.find(JobFilter(ids=(job_id(theirs),)), now=T),
        lambda: rig.store.change(JobFilter(ids=(job_id(theirs),)), "cancel", now=T),
        lambda: rig.store.pause("default", paused=True),
    ):
        with pytest.raises(StoreUnavailable, match="shard b is away"):
            call()
    assert numbers(rig.store.find(JobFilter(), now=T)) == [ours]
    [a, b] = rig.store.describe().parts
    assert (a.state, a.jobs, b.state, b.jobs) == ("up", 1, "away", None)


def test_waiting_ends_for_either_shard_and_leaves_no_thread_behind(rig):
    info = worker(queues=("default",))
    rig.store.heartbeat(info, ttl=60)
    for name in "ab":
        answers: list[bool] = []
        thread = threading.Thread(target=lambda a=answers: a.append(rig.store.wait(info, 20)))
        thread.start()
        until(lambda: {"turnout-door-a", "turnout-door-b"} <= threads())
        [n] = rig.on(name)
        rig.store.enqueue([new_job(n)])
        thread.join(10)
        assert answers == [True]
        rig.store.change(JobFilter(), "delete")
    rig.store.heartbeat(worker(queues=("default",), state="stopped"), ttl=60)
    until(lambda: not {"turnout-door-a", "turnout-door-b"} & threads())


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_lost_and_nothing_runs_twice_whatever_happens(seed):
    """Random enqueues, leases, settles, deaths and absences; then everything is worked off."""
    rng = random.Random(seed)
    rig = Rig("abc")
    store = rig.store
    recorded, done = set(), Counter()
    epoch, serial, held = "e0", 0, []
    open_epoch(store, epoch)
    for step in range(150):
        fate = rng.random()
        if fate < 0.3:
            recorded.update(put(store, *(new_job(serial + n) for n in range(5))))
            serial += 5
        elif fate < 0.5:
            held += lease(store, epoch=epoch, limit=rng.randrange(1, 9))
        elif fate < 0.8 and held:
            part, held = held[:4], held[4:]
            ends = [
                succeeded(job) if rng.random() < 0.7 else retried(job, run_at=T) for job in part
            ]
            answer: Exchanged = store.exchange(epoch, ends, None, now=T)
            done.update(end.job.id for end in ends if end.job.id in answer.settled
                        and end.state is State.SUCCEEDED)  # fmt: skip
            held += [end.job for end in ends if end.job.id in answer.away]
        elif fate < 0.85:
            store.reap(epoch=epoch, now=T)
            epoch, held = f"e{step + 1}", []
            open_epoch(store, epoch)
        elif fate < 0.95:
            away = rng.choice("abc")
            rig.fail(away, "exchange", "workers")
            store.exchange(epoch, [], None, now=T)
            rig.mend(away)
        else:
            store.heartbeat(worker(epoch), ttl=30, now=T)
    stop_epoch(store, epoch)
    open_epoch(store, "last")
    while jobs := lease(store, epoch="last"):
        done.update(map(job_id, settle(store, *map(succeeded, jobs), epoch="last")))
    dead = {record.id for record in store.find(JobFilter(states=(State.DEAD,)), limit=999, now=T)}
    assert set(done) | dead == recorded
    assert set(done.values()) == {1}
    store.close()


def test_a_slow_shard_rests_and_the_others_go_on(rig):
    jobs = running(rig.store, *(new_job(n) for n in range(20)))
    put(rig.store, *(new_job(n) for n in range(20, 60)))
    rig.shard("b").health.tired(20.0)
    calls = rig.parts["b"].calls["exchange"]
    answer = rig.store.exchange("e1", list(map(succeeded, jobs)), want(), now=T)
    assert {owner("ab", each) for each in answer.settled} == {"a"}
    assert {owner("ab", job.id) for job in answer.leased} == {"a"}
    assert {owner("ab", each) for each in answer.away} == {"b"}
    assert rig.store.wait(worker(), 0.05) is False, "what nobody fetches does not ring"
    assert rig.parts["b"].calls["exchange"] == calls
    rig.shard("b").health.tired(0.0)
    assert {owner("ab", job.id) for job in lease(rig.store)} == {"b"}


def test_a_call_that_takes_long_makes_a_shard_rest_and_one_that_takes_longer_away(rig, monkeypatch):
    shard = rig.shard("a")
    shard.call(lambda store: store.count())
    assert shard.health._rests_until == 0.0
    monkeypatch.setattr(shards, "TIRING", -1.0)  # every call is one that takes long
    shard.call(lambda store: store.count())
    assert shard.health._rests_until > 0.0
    assert not shard.health.is_away
    monkeypatch.setattr(shards, "SLOW", -1.0)
    assert shard.call(lambda store: store.count()) == [], "its answer counts all the same"
    assert shard.health.is_away
    monkeypatch.undo()
    until(lambda: not shard.health.is_away)


def test_who_waits_for_a_page_makes_no_shard_rest_or_away(rig, monkeypatch):
    shard = rig.shard("a")
    monkeypatch.setattr(shards, "TIRING", -1.0)
    monkeypatch.setattr(shards, "SLOW", -1.0)
    with patient(60.0):
        shard.call(lambda store: store.count())
    assert (shard.health.is_away, shard.health._rests_until) == (False, 0.0)


def test_when_the_time_is_up_the_other_shards_are_not_the_answer(rig, monkeypatch):
    def busy(*_args, **_more):
        raise StoreBusy("a statement was stopped")

    monkeypatch.setattr(rig.shard("b").store, "count", busy)
    assert rig.store.count() == [], "busy for another reason: the others answer"
    with pytest.raises(StoreSlow), patient(0.0):
        rig.store.count()
    assert not rig.shard("b").health.is_away


def test_a_shard_taken_out_is_settled_and_rings_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "LOOK_EVERY", 0.0)
    file = tmp_path / "shards.conf"
    file.write_text("a = memory:out-a\nb = memory:out-b")
    store = ShardedStore(f"sharded:///{file}")
    info = worker(queues=("*",))
    store.heartbeat(info, ttl=60)
    store.enqueue([new_job(n) for n in range(20)])
    jobs = store.exchange("e1", [], want(limit=18)).leased
    ours = [job for job in jobs if owner("ab", job.id) == "b"]
    assert ours
    MemoryStore.named("out-b").enqueue([new_job(99)])
    file.write_text("a = memory:out-a")
    assert store.exchange("e1", list(map(succeeded, jobs)), want()).away == frozenset()
    assert store.wait(info, 0.05) is False, "a job of a shard that is none any more rings nobody"
    assert len(store.workers()) == 1
    assert len(MemoryStore.named("out-b").workers()) == 1
    store.heartbeat(info, ttl=60)
    assert MemoryStore.named("out-b").workers() == [], "nothing of it runs here: leave taken"
    done = MemoryStore.named("out-b").find(JobFilter(states=(State.SUCCEEDED,)))
    assert len(done) == len(ours)
    store.close()


def test_a_shard_that_moves_keeps_its_name_and_its_leases(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "LOOK_EVERY", 0.0)
    file = tmp_path / "shards.conf"
    file.write_text(f"a = sqlite:///{tmp_path}/a.db\nb = memory:unmoved")
    store = ShardedStore(f"sharded:///{file}")
    open_epoch(store)
    put(store, *(new_job(n) for n in range(20)))
    jobs = lease(store)
    (tmp_path / "link.db").symlink_to(tmp_path / "a.db")
    file.write_text(f"a = sqlite:///{tmp_path}/link.db\nb = memory:unmoved")
    assert len(settle(store, *map(succeeded, jobs))) == 20
    assert "link.db" in store.describe().location
    store.close()


def test_no_thread_is_left_when_the_store_is_closed(rig):
    rig.fail("b")
    rig.store.count()
    assert "turnout-shards" in threads()
    rig.store.close()
    assert "turnout-shards" not in threads()


def test_a_shard_that_answers_and_does_nothing_is_asked_less_and_less(rig):
    """A read-only replica, say: it looks well, and every write fails."""
    open_epoch(rig.store)
    put(rig.store, *(new_job(n) for n in range(20)))
    rig.fail("b", "exchange")
    health = rig.shard("b").health
    for relapse in range(4):
        until(lambda: not health.is_away)
        rig.store.exchange("e1", [], want(), now=T)
        assert (health.ask_at - time.monotonic() > 0.0) is (relapse > 0)
