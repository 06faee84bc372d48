"""Unique keys: at most one job holds one, and it becomes free when it was said to."""

from __future__ import annotations

import pytest

from conformance.builders import (
    ALL,
    T,
    ended,
    known,
    lease,
    new_job,
    number,
    numbers,
    open_epoch,
    put,
    retried,
    running,
    settle,
    snoozed,
    state_of,
    stats,
    stop_epoch,
    succeeded,
    unique_job,
)
from turnout.job import JobFilter, Outcome, State

N = 100


def is_free(store, key: str = "k", *, now: float = T) -> bool:
    """Tell whether a key could be taken, and leave it as it was when it could."""
    global N
    N += 1
    [taken] = put(store, unique_job(N, key), now=now)
    if taken is None:
        return False
    store.change(JobFilter(ids=(taken,)), "delete", now=now)
    return True


def test_a_second_job_with_a_taken_key_is_not_recorded(store):
    assert numbers(put(store, unique_job(1))) == [1]
    assert put(store, unique_job(2)) == [None]
    assert state_of(store, 2) is None
    assert stats(store).ready == 1


def test_different_keys_do_not_meet(store):
    assert None not in put(store, unique_job(1, "a"), unique_job(2, "b"), new_job(3))


def test_within_one_call_the_first_wins(store):
    ids = put(store, unique_job(1), new_job(2), unique_job(3))
    assert [n and number(n) for n in ids] == [1, 2, None]


def test_a_repeated_enqueue_is_not_in_its_own_way(store):
    put(store, unique_job(1))
    assert numbers(put(store, unique_job(1))) == [1]


def test_the_record_and_the_lease_name_the_key_held_until_the_finish(store):
    [job] = running(store, unique_job(1))
    assert job.unique == "k"
    assert known(store, 1).unique_key == "k"


@pytest.mark.parametrize(("until", "ttl"), [("start", None), ("time", 60.0)])
def test_a_lease_names_no_key_that_its_finish_would_not_free(store, until, ttl):
    [job] = running(store, unique_job(1, until=until, ttl=ttl))
    assert job.unique is None


# ---- until="start"


def test_until_start_it_is_free_once_leased(store):
    put(store, unique_job(1, until="start"))
    assert not is_free(store)
    open_epoch(store)
    lease(store)
    assert is_free(store)


def test_until_start_a_retry_does_not_take_it_again(store):
    [job] = running(store, unique_job(1, until="start"))
    settle(store, retried(job, run_at=T))
    assert is_free(store)


# ---- until="finish"


@pytest.mark.parametrize("state", [State.DEAD, State.DISCARDED, State.CANCELLED])
def test_until_finish_it_is_free_at_any_end(store, state):
    [job] = running(store, unique_job(1))
    assert not is_free(store)
    settle(store, ended(job, state))
    assert is_free(store)


@pytest.mark.parametrize("keep", [0.0, 60.0])
def test_until_finish_it_is_free_after_success(store, keep):
    [job] = running(store, unique_job(1))
    settle(store, succeeded(job, keep=keep))
    assert is_free(store)


def test_until_finish_it_stays_taken_through_retry_snooze_and_release(store):
    [job] = running(store, unique_job(1))
    settle(store, retried(job, run_at=T))
    assert not is_free(store)
    [job] = lease(store)
    settle(store, snoozed(job, run_at=T))
    assert not is_free(store)
    [job] = lease(store)
    settle(store, Outcome.released(job, T))
    assert not is_free(store)


def test_until_finish_it_stays_taken_when_the_worker_dies_or_stops(store):
    running(store, unique_job(1))
    store.reap(epoch="e1", now=T)
    assert not is_free(store)
    open_epoch(store, "e2")
    lease(store, epoch="e2")
    stop_epoch(store, "e2")
    assert not is_free(store)


def test_until_finish_it_is_free_when_a_job_dies_of_poison(store):
    put(store, unique_job(1))
    for n in range(3):
        open_epoch(store, f"v{n}")
        lease(store, epoch=f"v{n}")
        store.reap(epoch=f"v{n}", now=T)
    assert state_of(store, 1) is State.DEAD
    assert is_free(store)


@pytest.mark.parametrize("until", ["start", "finish"])
@pytest.mark.parametrize("action", ["cancel", "delete"])
def test_it_is_free_when_a_queued_job_is_cancelled_or_deleted(store, until, action):
    put(store, unique_job(1, until=until))
    store.change(ALL, action, now=T)
    assert is_free(store)


def test_it_is_free_when_a_cancelled_running_job_is_put_back(store):
    [job] = running(store, unique_job(1))
    store.change(ALL, "cancel", now=T)
    assert not is_free(store)
    settle(store, Outcome.released(job, T))
    assert is_free(store)


# ---- until="time", and ceilings


def test_until_time_it_is_free_only_then(store):
    [job] = running(store, unique_job(1, until="time", ttl=60.0))
    settle(store, succeeded(job))
    assert not is_free(store, now=T + 59)
    assert is_free(store, now=T + 61)


@pytest.mark.parametrize("action", ["cancel", "delete"])
def test_until_time_neither_cancel_nor_delete_frees_it(store, action):
    put(store, unique_job(1, until="time", ttl=60.0))
    store.change(ALL, action, now=T)
    assert not is_free(store, now=T + 59)


@pytest.mark.parametrize("until", ["start", "finish"])
def test_a_ttl_is_a_ceiling(store, until):
    put(store, unique_job(1, until=until, ttl=60.0))
    assert not is_free(store, now=T + 59)
    assert numbers(put(store, unique_job(2), now=T + 61)) == [2]
    assert state_of(store, 1) is State.QUEUED


def test_a_job_whose_key_passed_to_another_does_not_free_it(store):
    [first] = running(store, unique_job(1, ttl=60.0))
    put(store, unique_job(2), now=T + 61)
    settle(store, succeeded(first), now=T + 62)
    assert not is_free(store, now=T + 62)


def test_a_ttl_counts_from_the_enqueue_not_from_run_at(store):
    job = unique_job(1, until="time", ttl=60.0)
    put(store, job, now=T)
    assert is_free(store, now=T + 61)
