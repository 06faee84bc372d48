"""exchange, its leasing half: who gets which jobs, in which order."""

from __future__ import annotations

import threading
import time

from conformance.builders import (
    T,
    known,
    lease,
    new_job,
    numbers,
    open_epoch,
    put,
    running,
    settle,
    state_of,
    stats,
    stop_epoch,
    succeeded,
    want,
)
from turnout.job import LeasedJob, State, Want


def test_a_leased_job_carries_all_that_its_worker_needs(store):
    open_epoch(store)
    put(store, new_job(1, "mail", priority=3, expires_at=T + 9, context='{"a":1}'))
    [job] = lease(store)
    assert job == LeasedJob(
        id=job.id,
        task="shop.charge",
        queue="mail",
        args='{"order_id":1}',
        priority=3,
        attempt=0,
        crashes=0,
        enqueued_at=T,
        run_at=T,
        expires_at=T + 9,
        context='{"a":1}',
        trail=None,
        unique=None,
        fence=job.fence,
    )


def test_a_leased_job_is_running_and_says_where_and_since_when(store):
    running(store, new_job(1))
    record = known(store, 1)
    assert (record.state, record.worker, record.started_at) == (State.RUNNING, "host:e1", T)


def test_the_order_is_priority_then_run_at_then_id(store):
    open_epoch(store)
    put(
        store,
        new_job(5),
        new_job(4),
        new_job(1, run_at=T - 1),
        new_job(9, priority=100),
        new_job(2, priority=-100, run_at=T - 99),
    )
    assert numbers(lease(store)) == [9, 1, 4, 5, 2]


def test_a_job_is_leased_once(store):
    open_epoch(store, "e1")
    open_epoch(store, "e2")
    put(store, new_job(1))
    assert numbers(lease(store, epoch="e1")) == [1]
    assert lease(store, epoch="e1") == []
    assert lease(store, epoch="e2") == []


def test_the_jobs_of_one_exchange_share_a_fence_and_the_next_has_a_larger_one(store):
    open_epoch(store)
    put(store, *(new_job(n) for n in range(4)))
    first, second = lease(store, limit=2), lease(store, limit=2)
    assert first[0].fence == first[1].fence < second[0].fence == second[1].fence


def test_no_more_than_the_limit_is_leased(store):
    open_epoch(store)
    put(store, *(new_job(n) for n in range(5)))
    assert numbers(lease(store, limit=3)) == [0, 1, 2]
    assert stats(store).ready == 2


def test_each_queue_gives_no_more_than_its_room(store):
    open_epoch(store)
    put(store, *(new_job(n, "a") for n in range(3)), *(new_job(n, "b") for n in range(5, 8)))
    asked = Want((("b", 1), ("a", 2)), 10)
    assert numbers(store.exchange("e1", [], asked, now=T).leased) == [5, 0, 1]


def test_queues_are_served_in_the_order_given_whatever_the_priorities(store):
    open_epoch(store)
    put(store, new_job(1, "low", priority=100), new_job(2, "critical"), new_job(3, "default"))
    assert numbers(lease(store, "critical", "default", "low")) == [2, 3, 1]


def test_only_the_queues_asked_for_are_served(store):
    open_epoch(store)
    put(store, new_job(1, "a"), new_job(2, "b"))
    assert numbers(lease(store, "b", "nowhere")) == [2]


def test_a_star_stands_for_every_queue_not_named_by_name(store):
    open_epoch(store)
    put(store, *(new_job(n, queue) for n, queue in enumerate(["z", "b", "a", "named"])))
    assert numbers(lease(store, "*", "named")) == [2, 1, 0, 3]


def test_a_star_sees_a_queue_that_became_ready_in_the_same_exchange(store):
    open_epoch(store)
    put(store, new_job(1, "later", run_at=T + 10))
    assert numbers(lease(store, now=T + 10)) == [1]


def test_a_job_is_not_leased_before_its_run_at(store):
    open_epoch(store)
    put(store, new_job(1, run_at=T + 10))
    assert lease(store, now=T + 9.9) == []
    assert numbers(lease(store, now=T + 10)) == [1]


def test_a_due_job_takes_its_place_by_priority(store):
    open_epoch(store)
    put(store, new_job(1), new_job(2, run_at=T + 10, priority=5), new_job(3, run_at=T + 5))
    assert numbers(lease(store, now=T + 10)) == [2, 1, 3]


def test_an_unknown_epoch_is_lost_and_leases_nothing(store):
    put(store, new_job(1))
    answer = store.exchange("stranger", [], want(), now=T)
    assert (answer.lost, answer.leased, answer.settled) == (True, [], [])
    assert state_of(store, 1) is State.QUEUED


def test_a_stopped_epoch_is_lost(store):
    open_epoch(store)
    stop_epoch(store)
    assert store.exchange("e1", [], want(), now=T).lost


def test_wanting_nothing_leases_nothing(store):
    open_epoch(store)
    put(store, new_job(1))
    assert store.exchange("e1", [], None, now=T).leased == []
    assert store.exchange("e1", [], Want((), 10), now=T).leased == []
    assert lease(store, limit=0) == []


def test_settling_and_leasing_share_one_trip(store):
    [first] = running(store, new_job(1))
    put(store, new_job(2))
    answer = store.exchange("e1", [succeeded(first)], want(), now=T)
    assert numbers(answer.settled) == [1]
    assert numbers(answer.leased) == [2]


def test_many_threads_of_many_workers_lease_each_job_exactly_once(store):
    total, threads, per_call = 400, 8, 7
    epochs = [f"e{n}" for n in range(threads)]
    for epoch in epochs:
        open_epoch(store, epoch)
    put(store, *(new_job(n, f"q{n % 3}", priority=n % 5) for n in range(total)))
    taken: dict[str, list[int]] = {epoch: [] for epoch in epochs}
    start = threading.Barrier(threads)

    def drain(epoch):
        start.wait(10)
        deadline = time.monotonic() + 45
        # One that another's transaction holds at that moment is passed over, and found later.
        while sum(map(len, taken.values())) < total and time.monotonic() < deadline:
            leased = lease(store, epoch=epoch, limit=per_call)
            taken[epoch] += numbers(leased)
            assert len(settle(store, *map(succeeded, leased), epoch=epoch)) == len(leased)

    pool = [threading.Thread(target=drain, args=(epoch,)) for epoch in epochs]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join(50)
    assert sorted(n for some in taken.values() for n in some) == list(range(total))
    assert sum(each.succeeded for each in store.count(now=T)) == total


def test_two_threads_of_one_worker_lease_each_job_exactly_once(store):
    total = 200
    open_epoch(store)
    taken: list[int] = []

    def enqueue():
        for n in range(total):
            put(store, new_job(n))

    def drain():
        while len(taken) < total and not failed.is_set():
            taken.extend(numbers(lease(store, limit=5)))

    failed = threading.Event()
    pool = [threading.Thread(target=work) for work in (enqueue, drain, drain)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join(20)
    failed.set()
    assert sorted(taken) == list(range(total))
