"""A suspect that goes back before its trial must not leave its worker waiting for the verdict."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace

from turnout.job import Want
from turnout.worker.options import WorkerOptions
from turnout.worker.process import WorkerProcess
from turnout.worker.suspects import Suspects


@pytest.fixture
def on_trial(jobs):
    """A crew whose suspect was handed to its threads, which have not begun it; and that job."""

    @jobs.task(name="bad")
    def bad() -> None:
        raise AssertionError

    worker = WorkerProcess(jobs, WorkerOptions(threads=1))
    jobs.store.setup()
    worker.chores.heartbeat()
    bad.enqueue()
    [leased] = jobs.store.exchange(worker.crew.epoch, [], Want((("*", 1),), 1)).leased
    suspect = replace(leased, crashes=2)
    crew = worker.crew
    crew._hand_out([suspect])
    assert crew.suspects
    assert list(crew.threads.ready) == [suspect]
    assert crew.fetcher.wanted(crew.room) == 0, "nothing else is leased meanwhile"
    yield crew
    for end in (worker._inbox, worker._outbox):
        end.close()


def test_a_suspect_that_was_given_back_unrun_frees_its_worker(on_trial):
    on_trial.give_back_waiting()
    assert not on_trial.suspects
    assert on_trial.fetcher.wanted(on_trial.room) > 0


def test_a_suspect_that_was_lost_with_its_epoch_frees_its_worker(on_trial):
    on_trial.lose(on_trial.epoch)
    assert not on_trial.suspects
    assert on_trial.fetcher.wanted(on_trial.room) > 0


def test_a_suspect_that_waited_too_long_for_a_thread_frees_its_worker(on_trial):
    on_trial.threads._handed_at = time.monotonic() - 60
    on_trial.threads._all_stuck = lambda: True
    on_trial.threads.attend()
    assert not on_trial.threads.ready
    assert not on_trial.suspects


def test_a_second_suspect_does_not_take_the_place_of_one_that_waits(on_trial):
    """Whoever is forgotten here stays leased for as long as the worker lives."""
    [first] = on_trial.threads.take_waiting()
    suspects = Suspects()
    assert suspects.pick([first], lambda _job: True) == []
    second = replace(first, id="018f0000-0000-7000-8000-000000000009")
    assert suspects.pick([second], lambda _job: True) == [second]
    assert suspects.next(0) == first
