"""pause: stop leasing from a queue, and nothing else."""

from __future__ import annotations

from conformance.builders import (
    T,
    lease,
    new_job,
    numbers,
    open_epoch,
    put,
    retried,
    running,
    settle,
    stats,
    succeeded,
)
from turnout.job import QueueStats


def test_a_paused_queue_is_not_leased_from(store):
    open_epoch(store)
    put(store, new_job(1, "a"), new_job(2, "b"))
    store.pause("a", paused=True)
    assert lease(store, "a") == []
    assert numbers(lease(store, "*")) == [2]


def test_it_still_takes_jobs_and_counts_them(store):
    store.pause("default", paused=True)
    put(store, new_job(1), new_job(2, run_at=T + 5))
    seen = stats(store)
    assert (seen.paused, seen.ready, seen.scheduled, seen.oldest_at) == (True, 1, 1, T)


def test_running_jobs_are_not_touched(store):
    first, second = running(store, new_job(1), new_job(2))
    store.pause("default", paused=True)
    assert sorted(settle(store, succeeded(first), retried(second, run_at=T))) == [1, 2]
    assert lease(store) == []


def test_resumed_it_goes_on_where_it_stopped(store):
    open_epoch(store)
    put(store, new_job(1))
    store.pause("default", paused=True)
    store.pause("default", paused=False)
    assert not stats(store).paused
    assert numbers(lease(store)) == [1]


def test_pausing_twice_is_pausing_once(store):
    open_epoch(store)
    put(store, new_job(1))
    store.pause("default", paused=True)
    store.pause("default", paused=True)
    store.pause("default", paused=False)
    assert numbers(lease(store)) == [1]


def test_a_queue_without_jobs_can_be_paused_ahead(store):
    store.pause("tomorrow", paused=True)
    assert stats(store, "tomorrow").paused
    open_epoch(store)
    put(store, new_job(1, "tomorrow"))
    assert lease(store) == []


def test_a_paused_queue_that_never_had_a_job_is_counted_as_ours(store):
    store.pause("empty", paused=True)
    assert store.count(now=T) == [QueueStats(queue="empty", paused=True)]
