"""heartbeat and reap: who is alive, and what happens to the jobs of those who are not."""

from __future__ import annotations

from conformance.builders import (
    ERROR,
    T,
    job_id,
    known,
    lease,
    new_job,
    numbers,
    open_epoch,
    put,
    retried,
    running,
    settle,
    state_of,
    stats,
    stop_epoch,
    succeeded,
    worker,
)
from turnout.job import AttemptRecord, JobFilter, Orders, Reaped, State
from turnout.store.protocol import POISON


def crash(store, times: int) -> None:
    """Let that many workers die under whatever is ready."""
    for n in range(times):
        open_epoch(store, f"victim {n}")
        assert lease(store, epoch=f"victim {n}")
        store.reap(epoch=f"victim {n}", now=T)


# ---- heartbeat


def test_the_first_heartbeat_opens_the_epoch(store):
    assert store.heartbeat(worker("e1", running=3), ttl=30, now=T) == Orders()
    [seen] = store.workers(now=T)
    assert (seen.epoch, seen.name, seen.running, seen.deadline) == ("e1", "host:e1", 3, T + 30)


def test_workers_are_listed_by_name(store):
    for name in ("c", "a", "b"):
        store.heartbeat(worker(f"epoch of {name}", name=name), ttl=30, now=T)
    assert [each.name for each in store.workers(now=T)] == ["a", "b", "c"]


def test_a_later_heartbeat_renews_and_tells_the_news(store):
    open_epoch(store, ttl=30)
    store.heartbeat(worker("e1", state="quiet", running=1), ttl=30, now=T + 10)
    [seen] = store.workers(now=T + 10)
    assert (seen.state, seen.running, seen.deadline) == ("quiet", 1, T + 40)
    assert store.reap(now=T + 35) == []
    assert not store.heartbeat(worker("e1"), ttl=30, now=T + 39).lost


def test_a_late_heartbeat_still_counts_while_nobody_has_reaped(store):
    [job] = running(store, new_job(1))
    assert not store.heartbeat(worker("e1"), ttl=30, now=T + 500).lost
    assert settle(store, succeeded(job), now=T + 500) == [1]


def test_it_brings_back_which_running_jobs_should_stop(store):
    running(store, new_job(1), new_job(2))
    running(store, new_job(3), epoch="e2")
    store.change(JobFilter(ids=(job_id(1), job_id(3))), "cancel", now=T)
    assert store.heartbeat(worker("e1"), ttl=30, now=T).cancel == {job_id(1)}
    assert store.heartbeat(worker("e2"), ttl=30, now=T).cancel == {job_id(3)}


def test_a_reaped_epoch_is_never_renewed(store):
    open_epoch(store)
    store.reap(now=T + 31)
    assert store.heartbeat(worker("e1"), ttl=30, now=T + 32) == Orders(lost=True)
    assert store.workers(now=T + 32) == []


def test_a_stopped_worker_gives_back_what_it_held_and_nobody_is_to_blame(store):
    running(store, new_job(1), new_job(2))
    stop_epoch(store)
    assert store.workers(now=T) == []
    assert (known(store, 1).state, known(store, 1).crashes) == (State.QUEUED, 0)
    assert known(store, 1).attempts == ()
    open_epoch(store, "e2")
    assert numbers(lease(store, epoch="e2")) == [1, 2]


def test_a_stopped_epoch_never_comes_back(store):
    open_epoch(store)
    stop_epoch(store)
    assert store.heartbeat(worker("e1"), ttl=30, now=T).lost


def test_a_stopped_worker_leaves_a_cancelled_job_cancelled(store):
    running(store, new_job(1))
    store.change(JobFilter(), "cancel", now=T)
    stop_epoch(store)
    assert state_of(store, 1) is State.CANCELLED


# ---- reap


def test_the_living_are_left_alone(store):
    running(store, new_job(1))
    assert store.reap(now=T + 29) == []
    assert state_of(store, 1) is State.RUNNING


def test_jobs_of_the_dead_go_back_and_count_a_crash_not_an_attempt(store):
    running(store, new_job(1, task="shop.mail"))
    assert store.reap(now=T + 31) == [Reaped(job_id(1), "shop.mail", "default", 1, State.QUEUED)]
    back = known(store, 1)
    assert (back.state, back.crashes, back.attempt, back.run_at) == (State.QUEUED, 1, 0, T)


def test_the_history_tells_of_the_crash(store):
    running(store, new_job(1))
    store.reap(now=T + 31)
    assert known(store, 1).attempts == (
        AttemptRecord(
            attempt=1,
            started_at=T,
            finished_at=T + 31,
            worker="host:e1",
            outcome="crashed",
            message="the worker died while running this job",
        ),
    )


def test_a_crash_after_a_failure_keeps_count_and_history(store):
    [job] = running(store, new_job(1))
    settle(store, retried(job, run_at=T))
    lease(store)
    store.reap(epoch="e1", now=T)
    back = known(store, 1)
    assert (back.attempt, back.crashes) == (1, 1)
    assert [each.outcome for each in back.attempts] == ["retried", "crashed"]
    assert [each.attempt for each in back.attempts] == [1, 2]
    open_epoch(store, "e2")
    [again] = lease(store, epoch="e2")
    assert '"default":1' in again.trail
    assert ERROR in again.trail


def test_an_epoch_can_be_reaped_at_once(store):
    running(store, new_job(1))
    running(store, new_job(2), epoch="e2")
    assert numbers(store.reap(epoch="e1", now=T)) == [1]
    assert state_of(store, 2) is State.RUNNING


def test_reaping_an_unknown_epoch_finds_nothing_and_still_ends_it(store):
    assert store.reap(epoch="never seen", now=T) == []
    assert store.heartbeat(worker("never seen"), ttl=30, now=T).lost


def test_reaping_is_bounded_and_goes_on_where_it_stopped(store):
    running(store, *(new_job(n) for n in range(5)))
    assert len(store.reap(limit=2, now=T + 31)) == 2
    assert stats(store, now=T + 31).running == 3
    assert store.exchange("e1", [], None, now=T + 31).lost
    assert len(store.reap(limit=2, now=T + 31)) == 2
    assert len(store.reap(limit=2, now=T + 31)) == 1
    assert store.reap(limit=2, now=T + 31) == []
    assert stats(store, now=T + 31).ready == 5


def test_reaping_one_epoch_goes_on_too(store):
    running(store, *(new_job(n) for n in range(3)))
    assert len(store.reap(epoch="e1", limit=2, now=T)) == 2
    assert len(store.reap(epoch="e1", limit=2, now=T)) == 1


def test_a_half_reaped_epoch_settles_nothing(store):
    leased = running(store, new_job(1), new_job(2))
    store.reap(epoch="e1", limit=1, now=T)
    assert settle(store, *map(succeeded, leased)) == []


def test_a_reaped_job_takes_its_old_place(store):
    running(store, new_job(1))
    put(store, new_job(2), now=T + 5)
    store.reap(epoch="e1", now=T + 9)
    open_epoch(store, "e2", now=T + 9)
    assert numbers(lease(store, epoch="e2", now=T + 9)) == [1, 2]


def test_a_job_that_kills_its_workers_is_dead_with_the_evidence(store):
    put(store, new_job(1))
    crash(store, POISON - 1)
    assert state_of(store, 1) is State.QUEUED
    open_epoch(store)
    lease(store)
    assert store.reap(epoch="e1", now=T + 7) == [
        Reaped(job_id(1), "shop.charge", "default", POISON, State.DEAD)
    ]
    poison = known(store, 1)
    assert poison.reason == "its worker died under it 3 times"
    assert (poison.crashes, poison.attempt, poison.finished_at) == (POISON, 0, T + 7)
    assert [each.worker for each in poison.attempts] == [
        "host:victim 0",
        "host:victim 1",
        "host:e1",
    ]


def test_a_cancelled_job_of_a_dead_worker_does_not_run_again(store):
    running(store, new_job(1))
    store.change(JobFilter(), "cancel", now=T)
    [reaped] = store.reap(epoch="e1", now=T)
    assert reaped.state is State.CANCELLED
    last = known(store, 1)
    assert (last.state, last.reason) == (State.CANCELLED, "cancelled while it ran")
    assert [each.outcome for each in last.attempts] == ["crashed"]


def test_settled_jobs_are_not_reaped(store):
    first, _second = running(store, new_job(1), new_job(2))
    settle(store, succeeded(first))
    assert numbers(store.reap(now=T + 31)) == [2]
