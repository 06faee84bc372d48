"""note: a running job tells how far it is."""

from __future__ import annotations

import msgspec

from conformance.builders import (
    T,
    ended,
    known,
    lease,
    new_job,
    open_epoch,
    retried,
    running,
    settle,
    stop_epoch,
    succeeded,
)

HALF = '{"value":50,"total":100}'


def test_the_record_shows_the_last_progress(store):
    [job] = running(store, new_job(1))
    assert store.note("e1", job, '{"value":1}')
    assert store.note("e1", job, HALF)
    assert known(store, 1).progress == HALF


def test_progress_stays_in_the_final_record(store):
    first, second = running(store, new_job(1), new_job(2))
    store.note("e1", first, HALF)
    store.note("e1", second, HALF)
    settle(store, succeeded(first), ended(second))
    assert known(store, 1).progress == HALF
    assert known(store, 1).args == '{"order_id":1}'
    assert known(store, 2).progress == HALF


def test_progress_outlives_a_retry_until_the_next_is_told(store):
    [job] = running(store, new_job(1))
    store.note("e1", job, HALF)
    settle(store, retried(job, run_at=T))
    [again] = lease(store)
    assert known(store, 1).progress == HALF
    store.note("e1", again, "{}")
    assert known(store, 1).progress == "{}"


def test_a_stale_fence_tells_nothing(store):
    [job] = running(store, new_job(1))
    stale = msgspec.structs.replace(job, fence=job.fence + 1)
    assert not store.note("e1", stale, HALF)
    assert known(store, 1).progress is None


def test_a_settled_job_tells_nothing(store):
    [job] = running(store, new_job(1))
    settle(store, succeeded(job))
    assert not store.note("e1", job, HALF)


def test_a_stranger_tells_nothing(store):
    [job] = running(store, new_job(1))
    open_epoch(store, "e2")
    assert not store.note("e2", job, HALF)
    assert not store.note("never seen", job, HALF)


def test_the_dead_and_the_stopped_tell_nothing(store):
    [first] = running(store, new_job(1))
    store.reap(epoch="e1", now=T)
    assert not store.note("e1", first, HALF)
    open_epoch(store, "e2")
    [again] = lease(store, epoch="e2")
    stop_epoch(store, "e2")
    assert not store.note("e2", again, HALF)
    assert known(store, 1).progress is None


def test_a_half_reaped_epoch_tells_nothing(store):
    leased = running(store, new_job(1), new_job(2))
    store.reap(epoch="e1", limit=1, now=T)
    assert not any(store.note("e1", job, HALF) for job in leased)
