"""A heart beats in a thread of its own: no slow trip delays it, a standing main loop stops it."""

from __future__ import annotations

import threading
import time

import pytest
from msgspec.structs import replace

from process.rig import wait_until
from turnout.errors import StoreUnavailable
from turnout.job import State
from turnout.worker.clock import StoreClock
from turnout.worker.heart import Heart
from turnout.worker.options import WorkerOptions
from turnout.worker.process import WorkerProcess, run_in_thread


@pytest.fixture
def beats():
    """Starts hearts, and counts their beats."""
    counted: list[float] = []
    hearts: list[Heart] = []

    def start(every: float, patience: float = 60.0, beat=lambda: None) -> Heart:
        def work() -> None:
            counted.append(time.monotonic())
            beat()

        heart = Heart(work, every, patience)
        hearts.append(heart)
        heart.start()
        return heart

    start.counted = counted
    yield start
    for heart in hearts:
        heart.stop()


def test_it_beats_again_and_again(beats):
    beats(0.02)
    wait_until(lambda: len(beats.counted) >= 3)


def test_a_hastened_heart_does_not_wait_for_its_time(beats):
    heart = beats(3600.0)
    assert not beats.counted
    heart.hasten()
    wait_until(lambda: len(beats.counted) == 1)


def test_a_stop_waits_for_the_beat_under_way_and_none_follows(beats):
    begun, goes, over = threading.Event(), threading.Event(), []

    def slow() -> None:
        begun.set()
        goes.wait(10)
        over.append(True)

    heart = beats(0.001, beat=slow)
    assert begun.wait(10)
    threading.Timer(0.1, goes.set).start()
    heart.stop()
    assert len(over) == len(beats.counted)
    heart.hasten()
    heart.stop()  # once more does no harm
    assert len(over) == len(beats.counted)


def test_a_store_that_fails_is_tried_again(beats, caplog):
    def fail() -> None:
        raise StoreUnavailable("away")

    beats(0.02, beat=fail)
    wait_until(lambda: len(beats.counted) >= 3)
    assert "heartbeat failed: away" in caplog.text


def test_it_holds_back_while_the_main_loop_stands_and_says_so_once(beats, caplog):
    heart = beats(0.02, patience=0.1)
    wait_until(lambda: "has not turned" in caplog.text)
    seen, then = len(beats.counted), time.monotonic()
    wait_until(lambda: time.monotonic() > then + 0.1)
    assert len(beats.counted) == seen
    assert caplog.text.count("has not turned") == 1
    heart.turned = time.monotonic() + 3600
    wait_until(lambda: len(beats.counted) > seen)


@pytest.mark.parametrize("verb", ["reap", "prune"])
def test_a_slow_chore_costs_no_lease(jobs, verb):
    """The store answers one chore later than a lease lasts: what runs is still ours."""
    slow, over = threading.Event(), threading.Event()
    answer = getattr(jobs.store, verb)

    def slowly(*given, **more):
        slow.set()
        over.wait(20)
        return answer(*given, **more)

    setattr(jobs.store, verb, slowly)
    going = threading.Event()

    @jobs.task(name="long")
    def long() -> None:
        going.wait(20)

    job = long.enqueue()
    made = WorkerProcess(jobs, WorkerOptions(threads=2, heartbeat=0.1, dead_after=0.5))
    thread = run_in_thread(made)
    try:
        assert slow.wait(10)
        [seen] = jobs.store.workers()
        epoch, later = seen.epoch, seen.deadline + 1.0  # twice as long as a lease lasts
        wait_until(lambda: jobs.store.workers()[0].deadline > later)
        going.set()
        over.set()
        wait_until(lambda: job.refresh().state is State.SUCCEEDED)
    finally:
        going.set()
        over.set()
        made.stop()
        thread.join(20)
    assert made.crew.epoch == epoch
    assert job.refresh().attempt == 1


def test_the_stores_time_is_not_read_off_a_deadline_that_a_heartbeat_is_moving(jobs):
    """A heartbeat between the question and what is made of its answer: that answer is of no use."""
    jobs.store.setup()
    worker = WorkerProcess(jobs, WorkerOptions(threads=1))
    worker.chores.heartbeat()
    clock: StoreClock = worker.chores._clock
    before = clock.beaten
    [seen] = jobs.store.workers()
    late = replace(seen, deadline=seen.deadline + 100.0)
    offset = clock._offset
    clock.asks()  # one is on its way
    clock.learn(late, 30.0, before)
    assert clock._offset == offset
    worker.chores.heartbeat()  # and one has been answered
    clock.learn(late, 30.0, before)
    assert clock._offset == offset
    clock.learn(late, 30.0, clock.beaten)
    assert clock._offset == pytest.approx(offset + 100.0, abs=1.0)
    for end in (worker._inbox, worker._outbox):
        end.close()


def test_who_was_held_up_does_not_take_himself_for_dead(jobs):
    """A suspended machine, say: nobody else has reaped, so the late heartbeat goes first."""
    jobs.store.setup()
    worker = WorkerProcess(jobs, WorkerOptions(threads=1, heartbeat=0.1, dead_after=0.3))
    worker.chores.heartbeat()
    [before] = jobs.store.workers()
    wait_until(lambda: jobs.store.workers()[0].deadline < time.time() - 0.1, "the lease is over")
    worker.chores.reap()
    [after] = jobs.store.workers()
    assert (after.epoch, worker.crew.epoch) == (before.epoch, before.epoch)
    assert after.deadline > before.deadline
    for end in (worker._inbox, worker._outbox):
        end.close()
