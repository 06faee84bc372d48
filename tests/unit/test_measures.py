"""What a worker measures: counted by the batch, sent until it is answered, and never twice."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest

from conformance.builders import T, ended, new_job, retried, running, snoozed, succeeded
from turnout.errors import StoreUnavailable
from turnout.job import Outcome, Reaped, State
from turnout.metrics import EVER, LAST, OTHER, Spread, bucket_of, bucketed, step_for, upper
from turnout.store.memory import MemoryStore
from turnout.worker.measures import Measures


class Forgetful(MemoryStore):
    """A store that fails: before it has recorded something, or with the reply alone."""

    fails: str | None = None

    def record_metrics(self, *args, **more):
        if self.fails == "before":
            raise StoreUnavailable("away")
        super().record_metrics(*args, **more)
        if self.fails == "after":
            raise StoreUnavailable("the reply was lost")


@pytest.fixture
def store():
    made = Forgetful()
    made.clock = lambda: T
    return made


@pytest.fixture
def jobs(store):
    return running(store, *(new_job(n, task="charge") for n in range(10)))


def kept(store, step=60):
    return [(one.task, one.queue, one.outcomes) for one in store.metrics(step)]


def test_outcomes_are_counted_by_task_queue_and_word(store, jobs):
    measures = Measures()
    other = msgspec.structs.replace(jobs[4], task="mail", queue="low")
    measures.add([succeeded(jobs[0]), succeeded(jobs[1])])
    measures.add(
        [
            succeeded(jobs[2]),
            retried(jobs[3], run_at=T + 9),
            succeeded(other),
            ended(jobs[5], State.DEAD),
            ended(jobs[6], State.CANCELLED),
            snoozed(jobs[7], run_at=T + 9),
            Outcome.released(jobs[8], T),
        ]
    )
    measures.flush(store)
    told = {"succeeded": 3, "retried": 1, "dead": 1, "cancelled": 1, "snoozed": 1}
    assert kept(store) == [("charge", "default", told), ("mail", "low", {"succeeded": 1})]
    [charge, _] = store.metrics(60)
    assert charge.run == Spread(7.0, {bucket_of(1.0): 7})
    assert charge.wait.n == 7


def test_waits_are_counted_from_the_time_a_job_was_due(store, jobs):
    measures = Measures()
    late = msgspec.structs.replace(jobs[0], run_at=T - 100)
    measures.add([succeeded(late, at=T)])  # it ran for a second
    measures.flush(store)
    [row] = store.metrics(60)
    assert row.wait == Spread(99.0, {bucket_of(99.0): 1})


@pytest.mark.parametrize("fails", ["before", "after"])
def test_a_flush_that_failed_is_repeated_and_counts_once(store, jobs, fails):
    measures = Measures()
    measures.add([succeeded(jobs[0])])
    store.fails = fails
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            measures.flush(store)
    measures.add([succeeded(jobs[1]), succeeded(jobs[2])])
    with pytest.raises(StoreUnavailable):
        measures.flush(store)
    store.fails = None
    measures.flush(store)
    measures.flush(store)
    assert kept(store) == [("charge", "default", {"succeeded": 3})]
    assert len(measures) == 0


def test_two_processes_are_two_sources(store, jobs):
    for n in range(2):
        measures = Measures()
        measures.add([succeeded(jobs[n])])
        measures.flush(store)
    assert kept(store) == [("charge", "default", {"succeeded": 2})]


def test_a_long_absence_loses_resolution_and_no_count(store, jobs):
    measures = Measures()
    minutes = 10_000
    for n in range(minutes):
        measures.add([succeeded(jobs[0], at=T - 60 * n)])
    assert len(measures) <= 2_000
    measures.flush(store)
    [row] = store.metrics(EVER)
    assert row.outcomes == {"succeeded": minutes}
    assert row.run.n == row.wait.n == minutes


def test_endless_names_are_bounded_and_still_counted(store, jobs):
    measures = Measures()
    for n in range(5_000):
        measures.add([succeeded(msgspec.structs.replace(jobs[0], task=f"t{n}"))])
    assert len(measures) <= 201
    measures.flush(store)
    rows = {one.task: one.n for one in store.metrics(EVER)}
    assert sum(rows.values()) == 5_000
    assert len(rows) <= 201
    assert rows[OTHER] >= 4_800


def test_a_worker_s_death_counts_as_a_crash(store):
    measures = Measures()
    job = Reaped(new_job(1).id, "charge", "default", 1, State.QUEUED)
    measures.crashed([job, job], T)
    measures.flush(store)
    assert kept(store) == [("charge", "default", {"crashed": 2})]
    assert store.metrics(60)[0].failed == 2


# ---- buckets


def test_every_duration_lies_within_its_bucket():
    rng = random.Random(7)
    for _ in range(2_000):
        seconds = 10 ** rng.uniform(-6, 5)
        bucket = bucket_of(seconds)
        assert seconds <= upper(bucket) * 1.000001
        assert bucket == 0 or seconds >= upper(bucket - 1) * 0.999999


def test_what_has_no_length_and_what_has_no_end():
    assert bucket_of(-5.0) == bucket_of(0.0) == 0
    assert bucket_of(1e12) == LAST
    assert bucketed([-5.0, 1e12, 0.02]) == {0: 1, LAST: 1, bucket_of(0.02): 1}


def test_a_batch_is_counted_as_its_jobs_one_by_one():
    rng = random.Random(3)
    many = [rng.expovariate(5) for _ in range(500)]
    assert dict(bucketed(many)) == Counter(map(bucket_of, many))
    assert bucketed([0.5] * 9) == {bucket_of(0.5): 9}


def test_percentiles_are_off_by_a_fifth_at_most():
    rng = random.Random(11)
    for shape in (rng.expovariate, lambda r: rng.lognormvariate(0, 1) / r, lambda r: rng.random()):
        many = sorted(shape(3.0) for _ in range(20_000))
        spread = Spread(sum(many), dict(bucketed(many)))
        for q in (0.5, 0.95, 0.99):
            true = many[int(q * len(many))]
            assert spread.quantile(q) == pytest.approx(true, rel=0.2)
        assert spread.mean == pytest.approx(sum(many) / len(many))
    assert Spread().quantile(0.5) is None
    assert Spread().mean is None


def test_the_finest_step_that_reaches_back_far_enough():
    assert [step_for(hours * 3_600) for hours in (1, 3, 24, 7 * 24, 90 * 24, 9_999)] == [
        60, 60, 600, 3_600, 86_400, 86_400,
    ]  # fmt: skip
