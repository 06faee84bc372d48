"""A bound on the wait for a store: it ends what takes too long, and nothing else changes."""

from __future__ import annotations

import threading

import pytest

from conformance.builders import lease, new_job, numbers, open_epoch, put, settle, succeeded
from turnout.errors import StoreBusy, StoreSlow
from turnout.job import JobFilter, State
from turnout.store.patience import held, is_bounded, left, patient


def test_every_verb_works_within_a_bound(store):
    with patient(60.0):
        put(store, *(new_job(n) for n in range(3)))
        open_epoch(store)
        put(store, new_job(3, "mail"))
        [job] = lease(store, "mail")
        assert settle(store, succeeded(job)) == [3]
        assert numbers(store.find(JobFilter(states=(State.QUEUED,)))) == [2, 1, 0]
        assert store.change(JobFilter(queue="default"), "cancel") == 3
        store.pause("mail", paused=True)
        assert [(one.queue, one.paused) for one in store.count()] == [
            ("default", False),
            ("mail", True),
        ]
    assert not is_bounded()
    assert len(store.find(JobFilter())) == 4


def test_after_the_time_is_up_nothing_is_asked(store, url):
    put(store, new_job(1))
    if "memory:" in url:
        pytest.skip("it has nobody to ask")
    with pytest.raises(StoreSlow, match="longer than 0 s"), patient(0.0):
        store.change(JobFilter(), "delete")
    assert numbers(store.find(JobFilter())) == [1]


def test_an_inner_bound_shortens_and_never_lengthens():
    with patient(60.0):
        with patient(90.0):
            assert (left() or 0) < 61
        with pytest.raises(StoreSlow), patient(0.0):
            left()
        assert (left() or 0) > 30
    assert left() is None


def test_what_is_busy_in_time_is_told_as_busy():
    with pytest.raises(StoreBusy) as caught, patient(60.0):
        raise StoreBusy("locked")
    assert not isinstance(caught.value, StoreSlow)


def test_the_wait_for_a_lock_counts():
    lock = threading.Lock()
    with lock, pytest.raises(StoreSlow), patient(0.02), held(lock):
        raise AssertionError
    with patient(60.0), held(lock):
        assert lock.locked()
    with held(lock):
        assert lock.locked()
    assert not lock.locked()


def test_one_thread_s_bound_is_not_another_s():
    seen = []
    with patient(60.0):
        thread = threading.Thread(target=lambda: seen.append(is_bounded()))
        thread.start()
        thread.join(10)
    assert seen == [False]
