"""count: every queue's numbers, from counters that always agree with what is there."""

from __future__ import annotations

from conformance.builders import (
    ALL,
    T,
    bury,
    ended,
    finish,
    lease,
    new_job,
    open_epoch,
    put,
    retried,
    running,
    settle,
    stats,
    succeeded,
)
from turnout.job import JobFilter, QueueStats, Retention, State


def test_an_empty_store_has_no_queues(store):
    assert store.count(now=T) == []


def test_queues_come_by_name(store):
    put(store, new_job(1, "b"), new_job(2, "a"), new_job(3, "c"))
    assert [each.queue for each in store.count(now=T)] == ["a", "b", "c"]


def test_every_state_is_counted_by_queue(store):
    finish(store, new_job(1), new_job(2))
    bury(store, new_job(3), state=State.DEAD)
    bury(store, new_job(4), state=State.DISCARDED)
    bury(store, new_job(5), state=State.CANCELLED)
    running(store, new_job(6))
    put(store, new_job(7), new_job(8), new_job(9, run_at=T + 60), new_job(10, "other"))
    assert stats(store) == QueueStats(
        queue="default",
        ready=2,
        scheduled=1,
        running=1,
        succeeded=2,
        dead=1,
        discarded=1,
        cancelled=1,
        oldest_at=T,
        per_minute=5,
    )
    assert stats(store, "other").ready == 1


def test_what_is_due_counts_as_ready_also_while_no_worker_looks(store):
    put(store, new_job(1, run_at=T + 60), new_job(2, run_at=T + 90))
    assert (stats(store).ready, stats(store).scheduled) == (0, 2)
    later = stats(store, now=T + 60)
    assert (later.ready, later.scheduled, later.oldest_at) == (1, 1, T + 60)


def test_a_retrying_job_counts_as_scheduled_then_ready(store):
    [job] = running(store, new_job(1))
    settle(store, retried(job, run_at=T + 60))
    assert (stats(store).scheduled, stats(store).running) == (1, 0)
    assert stats(store, now=T + 61).ready == 1


def test_the_oldest_is_the_oldest_whatever_its_priority(store):
    open_epoch(store)
    put(store, new_job(1, priority=50, run_at=T - 1), new_job(2, run_at=T - 100))
    put(store, new_job(3, priority=-50, run_at=T - 7), new_job(4, run_at=T + 9))
    assert stats(store).oldest_at == T - 100
    lease(store, limit=2)
    assert stats(store).oldest_at == T - 7
    lease(store)
    assert stats(store).oldest_at is None


def test_per_minute_counts_what_finished_lately_in_whatever_way(store):
    first, second, third = running(store, new_job(1), new_job(2), new_job(3))
    settle(store, succeeded(first), ended(second), succeeded(third, keep=0))
    put(store, new_job(4))
    store.change(JobFilter(states=(State.QUEUED,)), "cancel", now=T)
    assert stats(store, now=T + 5).per_minute == 4
    assert stats(store, now=T + 75).per_minute == 0


def test_counters_follow_retry_cancel_delete_and_prune(store):
    bury(store, new_job(1), new_job(2), new_job(3))
    store.change(JobFilter(ids=(new_job(1).id,)), "retry", now=T)
    assert (stats(store).dead, stats(store).ready) == (2, 1)
    store.change(JobFilter(ids=(new_job(1).id,)), "cancel", now=T)
    assert (stats(store).cancelled, stats(store).ready) == (1, 0)
    store.change(JobFilter(ids=(new_job(2).id,)), "delete", now=T)
    assert stats(store).dead == 1
    store.prune(Retention(dead_count=0, ended_count=0), now=T)
    assert (stats(store).dead, stats(store).cancelled) == (0, 0)
    assert store.find(ALL, now=T) == []


def test_counters_follow_reaping(store):
    running(store, new_job(1))
    store.reap(epoch="e1", now=T)
    assert (stats(store).running, stats(store).ready) == (0, 1)
