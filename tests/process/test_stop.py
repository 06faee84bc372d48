"""Signals: an orderly stop loses nothing, blames nobody, and keeps its time."""

from __future__ import annotations

import os
import signal
import time

import pytest

from process.rig import wait_until
from turnout.job import State

pytestmark = pytest.mark.process


def test_a_short_job_finishes_once_after_term(rig):
    worker = rig.start()
    job = rig.enqueue("hold", "a")
    rig.until_said("start", "a")
    worker.signal(signal.SIGTERM)
    rig.until_said("stopping", "a")
    late = rig.enqueue("note", "late")
    rig.ledger.release("a")
    assert worker.wait() == 0
    record = rig.until(job, State.SUCCEEDED)
    assert (record.attempt, record.crashes) == (1, 0)
    assert rig.until(late, State.QUEUED).attempt == 0, "nothing new is begun"
    assert rig.store.workers() == []


def test_a_job_longer_than_the_grace_goes_back_and_is_not_blamed(rig):
    worker = rig.start(grace=0.3)
    job = rig.enqueue("hold", "a")
    rig.until_said("start", "a")
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 5
    record = rig.until(job, State.QUEUED)
    assert (record.attempt, record.crashes, record.attempts) == (0, 0, ())
    rig.ledger.release("a")
    rig.start()
    record = rig.until(job, State.SUCCEEDED)
    assert (record.attempt, record.crashes) == (1, 0)


def test_an_async_job_longer_than_the_grace_is_cancelled_and_goes_back(rig):
    worker = rig.start(grace=0.3)
    job = rig.enqueue("ahold", "a")
    rig.until_said("start", "a")
    assert worker.stop() == 0
    assert rig.ledger.said("cancelled", "a")
    record = rig.until(job, State.QUEUED)
    assert (record.attempt, record.crashes) == (0, 0)
    assert record.run_at is not None
    assert record.run_at <= time.time(), "it keeps its old place"


def test_what_was_leased_and_not_begun_goes_back_on_a_stop(rig):
    worker = rig.start(threads=2)
    held = [rig.enqueue("hold", name) for name in "ab"]
    for name in "ab":
        rig.until_said("start", name)
    waiting = [rig.enqueue("note", f"{n}") for n in range(5)]
    worker.signal(signal.SIGTERM)
    rig.until_said("stopping", "a")
    for job in waiting:
        rig.until(job, State.QUEUED)
    for name in "ab":
        rig.ledger.release(name)
    assert worker.wait() == 0
    assert rig.states(held) == {State.SUCCEEDED: 2}
    assert rig.states(waiting) == {State.QUEUED: 5}


def test_five_terms_are_one_orderly_stop(rig):
    worker = rig.start()
    job = rig.enqueue("hold", "a")
    rig.until_said("start", "a")
    for _ in range(5):
        worker.signal(signal.SIGTERM)
        rig.until_said("stopping", "a")
    [before] = rig.store.workers()
    # Two seconds of heartbeats later it still waits: a hasty stop would be over.
    wait_until(
        lambda: any(info.deadline > before.deadline + 2 for info in rig.store.workers()),
        "it waits for its job",
    )
    rig.ledger.release("a")
    assert worker.wait() == 0
    assert rig.until(job, State.SUCCEEDED).attempt == 1
    assert len(rig.ledger.said("start", "a")) == 1


def test_a_second_interrupt_hurries(rig):
    worker = rig.start(grace=60.0)
    job = rig.enqueue("hold", "a")
    rig.until_said("start", "a")
    worker.signal(signal.SIGINT)
    rig.until_said("stopping", "a")
    worker.signal(signal.SIGINT)
    assert worker.wait(10) == 0
    record = rig.until(job, State.QUEUED)
    assert (record.attempt, record.crashes) == (0, 0)


def test_tstp_takes_nothing_more_and_goes_on_with_what_runs(rig):
    worker = rig.start()
    job = rig.enqueue("hold", "a")
    rig.until_said("start", "a")
    worker.signal(signal.SIGTSTP)
    wait_until(lambda: [i.state for i in rig.store.workers()] == ["quiet"], "it is quiet")
    late = rig.enqueue("note", "late")
    rig.ledger.release("a")
    rig.until(job, State.SUCCEEDED)
    assert rig.until(late, State.QUEUED)
    assert worker.stop() == 0
    assert rig.until(late, State.QUEUED).attempt == 0


def test_ttin_dumps_the_stacks_and_harms_nothing(rig):
    worker = rig.start()
    job = rig.enqueue("hold", "a")
    rig.until_said("start", "a")
    worker.signal(signal.SIGTTIN)
    wait_until(lambda: "shop.py" in worker.log and "in hold" in worker.log, "the stacks")
    rig.ledger.release("a")
    rig.until(job, State.SUCCEEDED)
    assert worker.stop() == 0


def test_a_term_right_after_the_start_is_not_forgotten(rig):
    for _ in range(3):
        worker = rig.start(processes=2, grace=1.0)
        [first, _second] = worker.children()
        os.kill(first, signal.SIGKILL)
        worker.signal(signal.SIGTERM)  # while it forks the next one, or just before or after
        began = time.monotonic()
        worker.wait()
        assert time.monotonic() - began < 5


def test_a_term_while_a_child_is_being_born_reaches_it(rig):
    for _ in range(5):
        before = {info.pid for info in rig.store.workers()}
        worker = rig.launch(grace=1.0)
        wait_until(worker.children, "the child is there, and knows nothing yet")
        worker.signal(signal.SIGTERM)
        began = time.monotonic()
        assert worker.wait() == 0, worker.log
        assert time.monotonic() - began < 5
        assert {info.pid for info in rig.store.workers()} == before


def test_until_empty_ends_with_0_when_all_is_done(rig):
    jobs = [rig.enqueue("note", f"{n}") for n in range(50)]
    later = rig.enqueue("note", "later", delay=3600)
    worker = rig.start(until_empty=True, processes=2)
    assert worker.wait() == 0
    assert rig.states(jobs) == {State.SUCCEEDED: 50}
    assert rig.until(later, State.QUEUED)
    assert rig.store.workers() == []


def test_until_empty_does_not_wait_for_a_paused_queue(rig):
    rig.store.pause("shut", paused=True)
    shut = rig.enqueue("note", "shut", queue="shut")
    job = rig.enqueue("note", "open")
    assert rig.start(until_empty=True).wait() == 0
    assert rig.states([job]) == {State.SUCCEEDED: 1}
    assert rig.until(shut, State.QUEUED)


def test_until_empty_leaves_what_it_does_not_serve(rig):
    other = rig.enqueue("note", "other", queue="other")
    job = rig.enqueue("note", "mine")
    assert rig.start(until_empty=True, queues="default").wait() == 0
    assert rig.states([job]) == {State.SUCCEEDED: 1}
    assert rig.until(other, State.QUEUED)


def test_the_command_line_starts_the_same_worker(rig):
    job = rig.enqueue("note", "a")
    worker = rig.start_cli("--until-empty", "--threads", "2")
    assert worker.wait() == 0, worker.log
    assert rig.until(job).state is State.SUCCEEDED
    assert job in worker.log
