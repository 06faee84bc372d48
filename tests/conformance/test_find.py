"""find: which jobs, newest first, page by page."""

from __future__ import annotations

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
    succeeded,
)
from turnout.job import State


@pytest.fixture
def one_of_each(store):
    """Jobs 1 to 6 in the six states, 7 scheduled, 8 retrying and due, 9 retrying later."""
    finish(store, new_job(3))
    bury(store, new_job(4), state=State.DEAD)
    bury(store, new_job(5), state=State.DISCARDED)
    bury(store, new_job(6), state=State.CANCELLED)
    eight, nine = running(store, new_job(8), new_job(9))
    settle(store, retried(eight, run_at=T), retried(nine, run_at=T + 60))
    put(store, new_job(2, "other"))
    assert numbers(lease(store, "other")) == [2]
    put(store, new_job(1), new_job(7, run_at=T + 60))
    return store


def test_all_of_them_newest_id_first(one_of_each):
    assert found(one_of_each) == [9, 8, 7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("state", "jobs"),
    [
        (State.QUEUED, [9, 8, 7, 1]),
        (State.RUNNING, [2]),
        (State.SUCCEEDED, [3]),
        (State.DEAD, [4]),
        (State.DISCARDED, [5]),
        (State.CANCELLED, [6]),
    ],
)
def test_by_state(one_of_each, state, jobs):
    assert found(one_of_each, states=(state,)) == jobs
    assert {each.state for each in one_of_each.find(ALL, now=T) if each.state is state} == {state}


def test_by_several_states(one_of_each):
    assert found(one_of_each, states=(State.DEAD, State.RUNNING, State.SUCCEEDED)) == [4, 3, 2]


@pytest.mark.parametrize(
    ("view", "jobs"), [("ready", [8, 1]), ("scheduled", [9, 7]), ("retrying", [9, 8])]
)
def test_by_view_of_what_is_queued(one_of_each, view, jobs):
    assert found(one_of_each, view=view) == jobs
    assert found(one_of_each, view=view, states=(State.QUEUED,)) == jobs
    assert found(one_of_each, view=view, states=(State.DEAD,)) == []


def test_a_scheduled_job_is_ready_when_its_time_has_come(one_of_each):
    assert found(one_of_each, view="ready", now=T + 60) == [9, 8, 7, 1]
    assert found(one_of_each, view="scheduled", now=T + 60) == []


def test_by_queue_and_task(store):
    put(store, new_job(1, "a", task="t"), new_job(2, "a", task="u"), new_job(3, "b", task="t"))
    assert found(store, queue="a") == [2, 1]
    assert found(store, task="t") == [3, 1]
    assert found(store, queue="a", task="t") == [1]
    assert found(store, queue="nowhere") == []


def test_by_ids_unknown_ones_are_passed_over(one_of_each):
    wanted = tuple(map(job_id, (1, 3, 4, 99)))
    assert found(one_of_each, ids=wanted) == [4, 3, 1]
    assert found(one_of_each, ids=wanted, states=(State.DEAD,)) == [4]


def test_by_error_whole_or_by_its_last_part(store):
    bury(store, new_job(1))
    assert found(store, error=ERROR) == [1]
    assert found(store, error="CardDeclined") == [1]
    assert found(store, error="Declined") == []
    assert found(store, error="errors.CardDeclined") == []
    assert found(store, error="shop.errors") == []


def test_by_error_finds_what_is_being_retried_too(store):
    [one] = running(store, new_job(1))
    settle(store, retried(one, run_at=T + 60))
    assert found(store, error="CardDeclined") == [1]
    assert found(store, error="CardDeclined", view="retrying") == [1]


def test_an_error_is_the_last_attempts_error(store):
    [one] = running(store, new_job(1))
    settle(store, retried(one, run_at=T))
    [again] = lease(store)
    settle(store, snoozed(again, run_at=T + 9))
    assert found(store, error="CardDeclined") == []


def test_by_time_of_enqueue_since_counts_and_before_does_not(store):
    for n in range(4):
        put(store, new_job(n), now=T + n)
    bury(store, new_job(9), now=T + 9)
    assert found(store, since=T + 1, before=T + 3) == [2, 1]
    assert found(store, since=T + 4) == [9]
    assert 9 not in found(store, before=T + 9)


def test_traces_of_successes_have_their_time_too(store):
    finish(store, new_job(1), now=T)
    finish(store, new_job(2), now=T + HOUR)
    assert found(store, since=T + 60) == [2]
    assert found(store, before=T + 60) == [1]


def test_pages_follow_each_other_without_gap_or_overlap(one_of_each):
    seen, after = [], None
    while page := one_of_each.find(ALL, limit=2, after=after, now=T):
        assert len(page) <= 2
        seen += numbers(page)
        after = page[-1].id
    assert seen == [9, 8, 7, 6, 5, 4, 3, 2, 1]


def test_pages_through_many_overlapping_batches_of_traces(store):
    open_epoch(store)
    put(store, *(new_job(n, f"q{n % 3}", priority=n % 7) for n in range(100)))
    while leased := lease(store, limit=9):
        settle(
            store,
            *(retried(j, run_at=T + 9) if j.id == job_id(50) else succeeded(j) for j in leased),
        )
    seen, after = [], None
    while page := store.find(ALL, limit=7, after=after, now=T):
        seen += numbers(page)
        after = page[-1].id
    assert seen == list(range(99, -1, -1))


def test_nothing_is_known_of_an_unknown_job(store):
    assert record(store, 1) is None
    assert store.find(ALL, now=T) == []


@pytest.mark.parametrize(
    "task", ["shop.charge", "a_b", "a%b", 'say "hi"', "back\\slash", "\\", "größe", "名前", "/"]
)
def test_successes_are_found_by_the_name_of_their_task_whatever_is_in_it(store, task):
    finish(store, new_job(1, task=task), new_job(2, task="other"), new_job(3, task=task))
    assert found(store, task=task) == [3, 1]
    assert found(store, task=task, states=(State.SUCCEEDED,)) == [3, 1]
    assert found(store, task=f"{task}x") == []
