"""Crashes: what a dead worker said of them, what is known of its death, and crashes of one job."""

from __future__ import annotations

import pytest

from conformance.builders import (
    T,
    job_id,
    known,
    lease,
    new_job,
    numbers,
    put,
    settle,
    state_of,
    trail_with,
    worker,
)
from turnout.crash import POISON, Evidence, crash_entry, crashed
from turnout.job import JobFilter, Reaped, State

SEGFAULT = Evidence("signal SIGSEGV", 300 * 2**20, "Fatal Python error: Segmentation fault")


def open_with(store, policies: dict[str, str], epoch: str = "e1") -> None:
    assert not store.heartbeat(worker(epoch, on_crash=policies), ttl=30, now=T).lost


def crash(store, job, *, on_crash: str | None = None) -> list[int]:
    """Settle a job whose own process died, while its worker did not."""
    entry = crash_entry(job.attempt + 1, (T - 1, T), "host:e1", SEGFAULT)
    return settle(store, crashed(job, entry, trail_with(job, entry), on_crash))


# ---- a worker dies


@pytest.mark.parametrize(("policy", "state"), [("dead", State.DEAD), ("discard", State.DISCARDED)])
def test_the_dead_worker_had_said_what_a_crash_means_for_its_tasks(store, policy, state):
    put(store, new_job(1, task="shop.pay"), new_job(2, task="shop.mail"))
    open_with(store, {"shop.pay": policy})
    lease(store)
    reaped = {each.id: each.state for each in store.reap(epoch="e1", now=T)}
    assert reaped == {job_id(1): state, job_id(2): State.QUEUED}
    ended = known(store, 1)
    assert (ended.state, ended.crashes, ended.attempt) == (state, 1, 0)
    assert policy in ended.reason
    assert [each.outcome for each in ended.attempts] == ["crashed"]


def test_it_counts_too_when_the_worker_was_only_found_overdue(store):
    put(store, new_job(1, task="shop.pay"))
    open_with(store, {"shop.pay": "dead"})
    lease(store)
    assert store.reap(now=T + 31) == [Reaped(job_id(1), "shop.pay", "default", 1, State.DEAD)]


def test_a_request_to_stop_goes_before_the_policy(store):
    put(store, new_job(1, task="shop.pay"))
    open_with(store, {"shop.pay": "dead"})
    lease(store)
    store.change(JobFilter(), "cancel", now=T)
    assert [each.state for each in store.reap(epoch="e1", now=T)] == [State.CANCELLED]


def test_the_evidence_stands_in_the_history(store):
    put(store, new_job(1))
    open_with(store, {})
    lease(store)
    store.reap(epoch="e1", evidence=SEGFAULT, now=T)
    [entry] = known(store, 1).attempts
    assert entry.message == (
        "the worker died while running this job: signal SIGSEGV, 300 MB at its peak"
    )
    assert entry.traceback == SEGFAULT.tail


# ---- a job's own process dies, and its worker settles that


def test_a_crash_that_the_worker_settles_counts_a_crash_and_no_attempt(store):
    put(store, new_job(1))
    open_with(store, {})
    [job] = lease(store)
    assert crash(store, job) == [1]
    back = known(store, 1)
    assert (back.state, back.crashes, back.attempt, back.run_at) == (State.QUEUED, 1, 0, T)
    assert [each.outcome for each in back.attempts] == ["crashed"]
    [again] = lease(store)
    assert (again.crashes, again.attempt) == (1, 0)


def test_the_third_crash_is_the_last(store):
    put(store, new_job(1))
    open_with(store, {})
    for _ in range(POISON):
        [job] = lease(store)
        crash(store, job)
    dead = known(store, 1)
    assert (dead.state, dead.crashes, dead.attempt) == (State.DEAD, POISON, 0)
    assert dead.reason == "its worker died under it 3 times"
    assert lease(store) == []


@pytest.mark.parametrize(("policy", "state"), [("dead", State.DEAD), ("discard", State.DISCARDED)])
def test_the_first_crash_is_the_last_where_the_task_says_so(store, policy, state):
    put(store, new_job(1))
    open_with(store, {})
    [job] = lease(store)
    crash(store, job, on_crash=policy)
    assert (state_of(store, 1), known(store, 1).crashes) == (state, 1)


def test_a_job_that_was_to_stop_is_not_put_back_by_its_crash(store):
    put(store, new_job(1))
    open_with(store, {})
    [job] = lease(store)
    store.change(JobFilter(), "cancel", now=T)
    assert crash(store, job) == [1]
    assert (state_of(store, 1), known(store, 1).crashes) == (State.CANCELLED, 1)


def test_a_crash_of_a_lost_lease_counts_nothing(store):
    put(store, new_job(1))
    open_with(store, {})
    [job] = lease(store)
    store.reap(epoch="e1", now=T)
    assert crash(store, job) == []
    assert known(store, 1).crashes == 1


def test_a_persons_retry_forgets_the_crashes(store):
    put(store, new_job(1))
    open_with(store, {})
    [job] = lease(store)
    crash(store, job, on_crash="dead")
    assert store.change(JobFilter(), "retry", now=T) == 1
    assert numbers(lease(store)) == [1]
    assert known(store, 1).crashes == 0
