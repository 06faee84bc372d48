"""change: what a person does to jobs, one or many."""

from __future__ import annotations

import msgspec
import pytest

from conformance.builders import (
    ALL,
    ERROR,
    HOUR,
    T,
    bury,
    finish,
    found,
    job_id,
    known,
    lease,
    new_job,
    numbers,
    open_epoch,
    put,
    record,
    retried,
    running,
    settle,
    state_of,
    stats,
    succeeded,
    unique_job,
    worker,
)
from turnout.job import JobFilter, State

LATER = T + HOUR
NOT_SUCCESS = [State.DEAD, State.DISCARDED, State.CANCELLED]


def one(n: int) -> JobFilter:
    return JobFilter(ids=(job_id(n),))


# ---- retry


@pytest.mark.parametrize("state", NOT_SUCCESS)
def test_retry_sends_an_ended_job_back_with_fresh_counts_and_its_history(store, state):
    bury(store, new_job(1, priority=7, context='{"a":1}'), state=state)
    assert store.change(one(1), "retry", now=LATER) == 1
    back = known(store, 1)
    assert (back.state, back.attempt, back.crashes) == (State.QUEUED, 0, 0)
    assert (back.run_at, back.enqueued_at, back.finished_at) == (LATER, T, None)
    assert (back.error, back.reason, back.worker) == (None, None, None)
    assert [each.outcome for each in back.attempts] == [state.value]
    assert (back.args, back.priority, back.context) == ('{"order_id":1}', 7, '{"a":1}')


def test_a_job_sent_back_runs_with_fresh_rule_counts(store):
    bury(store, new_job(1))
    store.change(one(1), "retry", now=LATER)
    open_epoch(store, now=LATER)
    [job] = lease(store, now=LATER)
    trail = msgspec.json.decode(job.trail)
    assert trail["attempts"][0]["error"] == ERROR
    assert not trail.get("counts")
    assert (job.attempt, job.crashes) == (0, 0)


def test_a_poison_job_sent_back_has_its_three_lives_again(store):
    put(store, new_job(1))
    for n in range(3):
        open_epoch(store, f"v{n}")
        lease(store, epoch=f"v{n}")
        store.reap(epoch=f"v{n}", now=T)
    assert state_of(store, 1) is State.DEAD
    store.change(ALL, "retry", now=T)
    open_epoch(store)
    lease(store)
    [reaped] = store.reap(epoch="e1", now=T)
    assert (reaped.crashes, reaped.state) == (1, State.QUEUED)


def test_retry_makes_a_waiting_job_due(store):
    [job] = running(store, new_job(1))
    settle(store, retried(job, run_at=T + 9_999))
    assert store.change(one(1), "retry", now=LATER) == 1
    waiting = known(store, 1)
    assert (waiting.run_at, waiting.attempt, waiting.error) == (LATER, 1, ERROR)
    assert numbers(lease(store, now=LATER)) == [1]


def test_retry_leaves_alone_what_is_due_running_or_succeeded(store):
    finish(store, new_job(1))
    finish(store, new_job(2), result="1")
    running(store, new_job(3))
    put(store, new_job(4))
    assert store.change(ALL, "retry", now=LATER) == 0
    assert [state_of(store, n) for n in (1, 2, 3, 4)] == [
        State.SUCCEEDED,
        State.SUCCEEDED,
        State.RUNNING,
        State.QUEUED,
    ]
    assert known(store, 4).run_at == T


def test_retry_takes_the_unique_key_again(store):
    bury(store, unique_job(1))
    store.change(one(1), "retry", now=T)
    assert put(store, unique_job(2)) == [None]
    assert lease_key(store) == "k"


def test_retry_is_refused_while_another_job_holds_the_key(store):
    bury(store, unique_job(1))
    put(store, unique_job(2))
    assert store.change(one(1), "retry", now=T) == 0
    assert (state_of(store, 1), state_of(store, 2)) == (State.DEAD, State.QUEUED)
    assert known(store, 1).error == ERROR


def test_of_two_jobs_with_one_key_only_one_is_sent_back(store):
    bury(store, unique_job(1))
    bury(store, unique_job(2))
    assert store.change(ALL, "retry", now=T) == 1
    assert store.change(ALL, "retry", now=T) == 0
    assert sorted(each.state for each in store.find(ALL, now=T)) == [State.DEAD, State.QUEUED]


def lease_key(store) -> str | None:
    open_epoch(store)
    [job] = lease(store)
    return job.unique


# ---- cancel


def test_cancelling_a_queued_job_ends_it(store):
    put(store, new_job(1), new_job(2, run_at=T + 60))
    assert store.change(ALL, "cancel", now=LATER) == 2
    for n in (1, 2):
        last = known(store, n)
        assert (last.state, last.reason) == (State.CANCELLED, "cancelled before it ran")
        assert (last.finished_at, last.attempt, last.started_at) == (LATER, 0, None)
        assert last.args is not None
    open_epoch(store, now=LATER)
    assert lease(store, now=LATER) == []


def test_cancelling_a_running_job_asks_it_to_stop_once(store):
    running(store, new_job(1))
    assert store.change(one(1), "cancel", now=T) == 1
    assert store.change(one(1), "cancel", now=T) == 0
    asked = known(store, 1)
    assert (asked.state, asked.cancel_requested) == (State.RUNNING, True)
    assert store.heartbeat(worker(), ttl=30, now=T).cancel == {job_id(1)}
    assert store.heartbeat(worker(), ttl=30, now=T).cancel == {job_id(1)}


def test_cancelling_leaves_final_jobs_alone(store):
    finish(store, new_job(1))
    bury(store, new_job(2))
    assert store.change(ALL, "cancel", now=T) == 0
    assert state_of(store, 2) is State.DEAD


def test_a_request_to_stop_is_forgotten_when_the_job_is_sent_back(store):
    [job] = running(store, new_job(1))
    store.change(one(1), "cancel", now=T)
    settle(store, retried(job, run_at=T))
    store.change(one(1), "retry", now=T)
    assert not known(store, 1).cancel_requested
    lease(store)
    assert store.heartbeat(worker(), ttl=30, now=T).cancel == frozenset()


# ---- delete


def test_delete_removes_everything_but_what_runs(store):
    finish(store, new_job(1))
    finish(store, new_job(2), result="1")
    for n, state in enumerate(NOT_SUCCESS, start=3):
        bury(store, new_job(n), state=state)
    running(store, new_job(6))
    put(store, new_job(7), new_job(8, run_at=T + 60))
    assert store.change(ALL, "delete", now=T) == 7
    assert found(store) == [6]
    left = stats(store)
    assert (left.ready, left.scheduled, left.running, left.succeeded) == (0, 0, 1, 0)
    assert (left.dead, left.discarded, left.cancelled) == (0, 0, 0)


def test_a_deleted_job_can_be_enqueued_anew(store):
    put(store, new_job(1))
    store.change(one(1), "delete", now=T)
    assert numbers(put(store, new_job(1))) == [1]
    assert state_of(store, 1) is State.QUEUED


def test_one_trace_of_a_batch_can_be_deleted(store):
    leased = running(store, new_job(1), new_job(2), new_job(3))
    settle(store, *map(succeeded, leased))
    assert store.change(one(2), "delete", now=T) == 1
    assert found(store) == [3, 1]
    assert stats(store).succeeded == 2


# ---- filters and bounds


def test_only_matching_jobs_change(store):
    put(store, new_job(1, "a"), new_job(2, "b"), new_job(3, "a", task="other"))
    assert store.change(JobFilter(queue="a", task="shop.charge"), "delete", now=T) == 1
    assert found(store) == [3, 2]


def test_a_state_that_the_action_cannot_change_matches_nothing(store):
    running(store, new_job(1))
    put(store, new_job(2))
    assert store.change(JobFilter(states=(State.RUNNING,)), "delete", now=T) == 0
    assert store.change(JobFilter(states=(State.DEAD,)), "cancel", now=T) == 0
    assert found(store) == [2, 1]


def test_change_by_error_reaches_the_retrying_too(store):
    [job] = running(store, new_job(1))
    settle(store, retried(job, run_at=T + 9_999))
    bury(store, new_job(2))
    assert store.change(JobFilter(error="CardDeclined"), "retry", now=LATER) == 2


@pytest.mark.parametrize("action", ["retry", "cancel", "delete"])
def test_change_is_bounded_and_ends_when_it_says_zero(store, action):
    jobs = [new_job(n) for n in range(5)]
    if action == "retry":
        bury(store, *jobs)
    else:
        put(store, *jobs)
    calls = []
    while changed := store.change(ALL, action, limit=2, now=LATER):
        calls.append(changed)
    assert calls == [2, 2, 1]


def test_the_bound_counts_what_changed_not_what_was_looked_at(store):
    bury(store, new_job(1))
    finish(store, *(new_job(n) for n in range(2, 9)))
    assert store.change(ALL, "retry", limit=1, now=T) == 1


def test_nothing_is_there_to_change(store):
    assert store.change(ALL, "delete", now=T) == 0
    assert store.change(one(1), "cancel", now=T) == 0
    assert record(store, 1) is None
