"""exchange, its settling half: what becomes of a job, and who may still say so."""

from __future__ import annotations

import msgspec
import pytest

from conformance.builders import (
    ERROR,
    HOUR,
    T,
    ended,
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
    snoozed,
    state_of,
    stats,
    succeeded,
    want,
)
from turnout.job import JobFilter, Outcome, State

# ---- success


def test_a_plain_success_leaves_a_trace_without_arguments(store):
    [job] = running(store, new_job(1))
    assert settle(store, succeeded(job, at=T + 2), now=T + 2) == [1]
    trace = known(store, 1)
    assert (trace.state, trace.attempt, trace.worker) == (State.SUCCEEDED, 1, "host:e1")
    assert (trace.started_at, trace.finished_at) == (T + 1, T + 2)
    assert (trace.task, trace.queue, trace.args) == ("shop.charge", "default", None)


def test_a_success_with_a_result_keeps_the_whole_record(store):
    [job] = running(store, new_job(1))
    settle(store, succeeded(job, result='{"paid":true}'))
    assert known(store, 1).result == '{"paid":true}'
    assert known(store, 1).args == '{"order_id":1}'


def test_a_success_after_a_failure_keeps_the_history(store):
    [job] = running(store, new_job(1))
    settle(store, retried(job, run_at=T))
    [again] = lease(store)
    settle(store, succeeded(again))
    last = known(store, 1)
    assert (last.state, last.attempt, last.error) == (State.SUCCEEDED, 2, None)
    assert [each.outcome for each in last.attempts] == ["retried"]
    assert last.args == '{"order_id":1}'


def test_why_a_result_was_not_kept_is_kept(store):
    [job] = running(store, new_job(1))
    settle(store, Outcome.succeeded(job, T, T, keep=HOUR, reason="result too large"))
    assert known(store, 1).reason == "result too large"


@pytest.mark.parametrize("result", [None, "1"])
def test_keep_zero_leaves_no_record_at_all(store, result):
    [job] = running(store, new_job(1))
    assert settle(store, succeeded(job, keep=0, result=result)) == [1]
    assert record(store, 1) is None
    assert (stats(store).succeeded, stats(store).running) == (0, 0)


def test_a_batch_of_successes_of_several_queues_is_settled_at_once(store):
    leased = running(store, *(new_job(n, f"q{n % 2}") for n in range(6)))
    assert sorted(settle(store, *map(succeeded, leased))) == list(range(6))
    assert (stats(store, "q0").succeeded, stats(store, "q1").succeeded) == (3, 3)


# ---- back to the queue


def test_a_retried_job_waits_until_its_time_and_counts_the_attempt(store):
    [job] = running(store, new_job(1))
    settle(store, retried(job, run_at=T + 60))
    waiting = known(store, 1)
    assert (waiting.state, waiting.attempt, waiting.run_at) == (State.QUEUED, 1, T + 60)
    assert waiting.error == ERROR
    assert lease(store, now=T + 59) == []
    [again] = lease(store, now=T + 60)
    assert again.attempt == 1


def test_the_history_and_the_counts_of_rules_come_back_with_the_job(store):
    [job] = running(store, new_job(1))
    outcome = retried(job, run_at=T)
    settle(store, outcome)
    [again] = lease(store)
    assert msgspec.json.decode(again.trail) == msgspec.json.decode(outcome.trail)


def test_a_snoozed_job_does_not_count_the_attempt(store):
    [job] = running(store, new_job(1))
    settle(store, snoozed(job, run_at=T + 5))
    waiting = known(store, 1)
    assert (waiting.attempt, waiting.run_at) == (0, T + 5)
    assert [each.outcome for each in waiting.attempts] == ["snoozed"]


def test_a_released_job_takes_its_old_place(store):
    open_epoch(store)
    put(store, new_job(1), now=T)
    put(store, new_job(2), now=T + 1)
    [job] = lease(store, limit=1, now=T + 1)
    settle(store, Outcome.released(job, T + 5), now=T + 5)
    assert numbers(lease(store, now=T + 5)) == [1, 2]
    assert known(store, 1).attempts == ()


def test_a_job_released_until_later_waits(store):
    [job] = running(store, new_job(1))
    settle(store, Outcome.released(job, T, run_at=T + 30))
    assert known(store, 1).run_at == T + 30
    assert lease(store) == []


def test_a_release_forgets_nothing_of_an_earlier_failure(store):
    [job] = running(store, new_job(1))
    settle(store, retried(job, run_at=T))
    [again] = lease(store)
    settle(store, Outcome.released(again, T))
    waiting = known(store, 1)
    assert (waiting.attempt, waiting.error, len(waiting.attempts)) == (1, ERROR, 1)


def test_what_is_put_back_can_be_leased_in_the_same_trip(store):
    [job] = running(store, new_job(1))
    answer = store.exchange("e1", [Outcome.released(job, T)], want(), now=T)
    assert numbers(answer.leased) == [1]


# ---- other ends


@pytest.mark.parametrize("state", [State.DEAD, State.DISCARDED, State.CANCELLED])
def test_an_end_without_success_keeps_everything(store, state):
    [job] = running(store, new_job(1, context='{"a":1}', priority=4))
    settle(store, ended(job, state, at=T + 3), now=T + 3)
    last = known(store, 1)
    assert (last.state, last.error, last.reason) == (state, ERROR, "because")
    assert (last.attempt, last.args, last.context) == (1, '{"order_id":1}', '{"a":1}')
    assert (last.started_at, last.finished_at, last.worker) == (T + 2, T + 3, "host:e1")
    assert [each.outcome for each in last.attempts] == [state.value]


# ---- fences


def test_each_job_is_settled_once(store):
    [job] = running(store, new_job(1))
    assert settle(store, succeeded(job), ended(job)) == [1]
    assert settle(store, ended(job)) == []
    assert state_of(store, 1) is State.SUCCEEDED


def test_a_stale_fence_changes_nothing(store):
    [first] = running(store, new_job(1))
    settle(store, Outcome.released(first, T))
    [second] = lease(store)
    assert settle(store, ended(first)) == []
    assert state_of(store, 1) is State.RUNNING
    assert settle(store, succeeded(second)) == [1]


def test_a_stale_outcome_does_not_keep_the_valid_one_behind_it_out(store):
    [old] = running(store, new_job(1))
    settle(store, retried(old, run_at=T))
    [new] = lease(store)
    assert settle(store, succeeded(old), retried(new, run_at=T + 60)) == [1]
    assert known(store, 1).state is State.QUEUED
    assert known(store, 1).attempt == 2


def test_another_workers_lease_cannot_be_settled(store):
    [job] = running(store, new_job(1))
    open_epoch(store, "e2")
    assert settle(store, succeeded(job), epoch="e2") == []
    assert state_of(store, 1) is State.RUNNING


def test_a_zombie_cannot_finish_a_job(store):
    [job] = running(store, new_job(1))
    store.reap(epoch="e1", now=T)
    answer = store.exchange("e1", [succeeded(job)], want(), now=T)
    assert (answer.lost, answer.settled, answer.leased) == (True, [], [])
    assert state_of(store, 1) is State.QUEUED


def test_a_zombie_cannot_finish_a_job_that_another_worker_runs_by_now(store):
    [job] = running(store, new_job(1))
    store.reap(epoch="e1", now=T)
    open_epoch(store, "e2")
    [again] = lease(store, epoch="e2")
    assert settle(store, ended(job)) == []
    assert settle(store, succeeded(again), epoch="e2") == [1]


def test_strays_do_not_harm_the_rest_of_their_batch(store):
    first, second = running(store, new_job(1), new_job(2))
    stray = msgspec.structs.replace(first, fence=first.fence + 999)
    assert settle(store, ended(stray), succeeded(second)) == [2]


# ---- cancellation


def test_a_job_put_back_after_somebody_cancelled_it_is_cancelled(store):
    [job] = running(store, new_job(1))
    store.change(JobFilter(), "cancel", now=T)
    settle(store, retried(job, run_at=T + 9))
    last = known(store, 1)
    assert (last.state, last.reason) == (State.CANCELLED, "cancelled while it ran")
    assert (last.attempt, last.cancel_requested) == (1, False)


def test_a_job_that_finished_although_cancelled_has_succeeded(store):
    [job] = running(store, new_job(1))
    store.change(JobFilter(), "cancel", now=T)
    settle(store, succeeded(job))
    assert state_of(store, 1) is State.SUCCEEDED
    assert not known(store, 1).cancel_requested


@pytest.mark.parametrize("how", ["retried", "succeeded", "dead"])
def test_a_job_that_went_back_and_came_again_is_settled_beside_a_mate_of_its_first_lease(
    store, how
):
    mate, first = running(store, new_job(1), new_job(2))
    settle(store, Outcome.released(first, T))
    [again] = lease(store)
    assert numbers([again]) == [2]
    assert again.fence != first.fence
    outcome = {
        "retried": retried(again, run_at=T + HOUR),
        "succeeded": succeeded(again, result="1"),
        "dead": ended(again, State.DEAD),
    }[how]
    assert sorted(settle(store, succeeded(mate), outcome)) == [1, 2]
    expected = {"retried": State.QUEUED, "succeeded": State.SUCCEEDED, "dead": State.DEAD}
    assert (state_of(store, 1), state_of(store, 2)) == (State.SUCCEEDED, expected[how])
    now = stats(store)
    assert (now.running, now.ready, now.scheduled) == (0, 0, int(how == "retried"))
    assert (now.succeeded, now.dead) == (1 + (how == "succeeded"), int(how == "dead"))
