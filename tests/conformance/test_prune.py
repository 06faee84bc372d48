"""prune: old records go, by age and by count, and nothing that is still to run."""

from __future__ import annotations

import pytest

from conformance.builders import (
    DAY,
    HOUR,
    T,
    bury,
    finish,
    found,
    new_job,
    put,
    running,
    stats,
    unique_job,
)
from turnout.job import Retention, State

FOREVER = Retention(dead_age=999 * DAY, ended_age=999 * DAY)


@pytest.mark.parametrize("result", [None, '"some"'])
def test_a_success_goes_when_its_time_is_over(store, result):
    finish(store, new_job(1), keep=HOUR, result=result)
    finish(store, new_job(2), keep=2 * HOUR, result=result)
    assert store.prune(FOREVER, now=T + HOUR - 1) == 0
    assert store.prune(FOREVER, now=T + HOUR + 1) == 1
    assert found(store) == [2]
    assert stats(store).succeeded == 1
    assert store.prune(FOREVER, now=T + 2 * HOUR + 1) == 1
    assert found(store) == []


@pytest.mark.parametrize("result", [None, '"some"'])
def test_successes_over_the_count_of_their_queue_go_oldest_first(store, result):
    for n in range(5):
        finish(store, new_job(n), now=T + n, keep=DAY, result=result)
    finish(store, new_job(9, "other"), keep=DAY, result=result)
    assert store.prune(Retention(succeeded_count=2), now=T + 10) == 3
    assert found(store) == [9, 4, 3]
    assert stats(store).succeeded == 2


def test_a_batch_past_its_time_goes_no_further_than_the_limit(store):
    finish(store, *(new_job(n) for n in range(10)), keep=HOUR)
    gone = [store.prune(FOREVER, limit=4, now=T + HOUR + 1) for _ in range(4)]
    assert gone == [4, 4, 2, 0]
    assert (found(store), stats(store).succeeded) == ([], 0)


def test_one_batch_of_successes_can_go_in_part(store):
    finish(store, *(new_job(n) for n in range(10)), keep=DAY)
    assert store.prune(Retention(succeeded_count=4), now=T + 10) == 6
    assert found(store) == [9, 8, 7, 6]


@pytest.mark.parametrize(
    ("state", "rule"),
    [
        (State.DEAD, Retention(dead_age=DAY)),
        (State.DISCARDED, Retention(ended_age=DAY)),
        (State.CANCELLED, Retention(ended_age=DAY)),
    ],
)
def test_other_ends_go_by_age(store, state, rule):
    bury(store, new_job(1), state=state, now=T)
    bury(store, new_job(2), state=state, now=T + HOUR)
    assert store.prune(rule, now=T + DAY - 1) == 0
    assert store.prune(rule, now=T + DAY + 1) == 1
    assert found(store) == [2]


@pytest.mark.parametrize(
    ("state", "rule"),
    [
        (State.DEAD, Retention(dead_count=1)),
        (State.DISCARDED, Retention(ended_count=1)),
        (State.CANCELLED, Retention(ended_count=1)),
    ],
)
def test_other_ends_go_by_count_of_their_queue(store, state, rule):
    for n in range(3):
        bury(store, new_job(n), state=state, now=T + n)
    bury(store, new_job(9, "other"), state=state)
    assert store.prune(rule, now=T + 10) == 2
    assert found(store) == [9, 2]


def test_the_dead_are_kept_while_the_discarded_go(store):
    bury(store, new_job(1), state=State.DEAD)
    bury(store, new_job(2), state=State.DISCARDED)
    store.prune(Retention(dead_age=DAY, ended_age=HOUR), now=T + 2 * HOUR)
    assert found(store) == [1]


def test_what_is_queued_or_running_is_never_pruned(store):
    running(store, new_job(1))
    put(store, new_job(2), new_job(3, run_at=T + 60))
    everything = Retention(
        succeeded_count=0, dead_age=0.0, dead_count=0, ended_age=0.0, ended_count=0
    )
    assert store.prune(everything, now=T + 999 * DAY) == 0
    assert found(store) == [3, 2, 1]


@pytest.mark.parametrize("result", [None, '"some"'])
def test_pruning_is_bounded(store, result):
    for n in range(5):
        finish(store, new_job(n), now=T + n, keep=HOUR, result=result)
    later = T + 2 * HOUR
    assert [store.prune(FOREVER, limit=2, now=later) for _ in range(4)] == [2, 2, 1, 0]


def test_pruning_by_count_is_bounded(store):
    for n in range(3):
        bury(store, new_job(n), now=T + n)
        finish(store, new_job(10 + n), now=T + n, keep=DAY)
    nothing = Retention(succeeded_count=0, dead_count=0)
    assert [store.prune(nothing, limit=4, now=T + 9) for _ in range(3)] == [4, 2, 0]


def test_stale_unique_keys_go_uncounted_and_others_stay(store):
    put(store, unique_job(1, "stale", "time", 60.0), unique_job(2, "held"))
    assert store.prune(FOREVER, now=T + 61) == 0
    assert put(store, unique_job(3, "held"), now=T + 61) == [None]
    assert put(store, unique_job(4, "stale"), now=T + 61) != [None]


def test_an_empty_store_has_nothing_to_prune(store):
    assert store.prune(Retention(), now=T) == 0
