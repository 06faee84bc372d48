"""Tasks and their calls, seen through a worker's own parts."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from turnout import (
    JobNotFound,
    UnknownTask,
    current_job,
)

# ---- tasks


def test_a_plain_call_stays_a_plain_call(jobs):
    @jobs.task
    def double(n: int) -> int:
        """Twice as much."""
        return 2 * n

    assert double(4) == 8
    assert double("ab") == "abab", "nothing is checked or recorded"
    assert jobs.store.count() == []
    assert (double.__name__, double.__doc__) == ("double", "Twice as much.")
    assert double.name.endswith("double")
    assert jobs.tasks[double.name] is double


def test_a_plain_call_of_an_async_task_is_awaited(jobs):
    @jobs.task
    async def double(n: int) -> int:
        return 2 * n

    assert double.is_async
    assert asyncio.run(double(4)) == 8


def test_a_task_that_is_not_there(jobs):
    jobs.task(name="charge")(lambda: None)
    with pytest.raises(UnknownTask, match="charge"):
        jobs.find_task("chagre")


def test_current_job_outside_a_job():
    with pytest.raises(JobNotFound, match="outside a job"):
        current_job()


def test_what_a_running_job_knows_of_itself(jobs, bench):
    seen = {}

    @jobs.task(name="look", timeout=5, queue="q")
    def look() -> None:
        job = current_job()
        seen.update(
            id=job.id, task=job.task, queue=job.queue, attempt=job.attempt,
            key=job.idempotency_key, left=job.deadline - time.time(),
            flags=(job.cancelled, job.lost),
        )  # fmt: skip
        job.progress(1, 3, "one")

    job = look.enqueue()
    bench.drain()
    left = seen.pop("left")
    assert 4 < left <= 5
    assert seen == {
        "id": job.id, "task": "look", "queue": "q", "attempt": 1, "key": job.id,
        "flags": (False, False),
    }  # fmt: skip
    progress = msgspec.json.decode(job.refresh().progress)
    assert progress == {"value": 1, "total": 3, "message": "one"}


# ---- calls


def test_overrides_reach_the_record(jobs):
    task = jobs.task(name="t", queue="a", priority=3)(lambda: None)
    plain = task.enqueue().refresh()
    assert (plain.queue, plain.priority) == ("a", 3)
    at = datetime(2040, 1, 2, 3, tzinfo=UTC)
    other = task.using(run_at=at, queue="b", priority=-4, expires=at).enqueue().refresh()
    assert (other.queue, other.priority) == ("b", -4)
    assert (other.run_at, other.expires_at) == (at.timestamp(), at.timestamp())
    late = task.using(delay=timedelta(minutes=1)).enqueue().refresh()
    assert 55 < late.run_at - time.time() <= 60


def test_priorities_larger_sooner_then_older_first(jobs, bench):
    order = []
    task = jobs.task(name="t")(lambda n: order.append(n))  # noqa: PLW0108 - its signature
    for n, priority in enumerate([0, -5, 100, 0, 7, -100]):
        task.using(priority=priority).enqueue(n)
    bench.drain()
    assert order == [2, 4, 0, 3, 1, 5]


def test_enqueue_many_is_lazy_and_goes_by_the_thousand(jobs):
    task = jobs.task(name="t")(lambda n: None)
    seen = []

    def source():
        for n in range(2500):
            if n == 2100:
                seen.append(sum(stats.ready for stats in jobs.store.count()))
            yield task.prepare(n)

    handles = jobs.enqueue_many(source())
    assert seen in ([1000], [2000])  # the second thousand may be on its way still
    assert len({handle.id for handle in handles}) == 2500
    assert all(handle.enqueued for handle in handles)
    assert jobs.enqueue_many([]) == []


def test_an_error_in_the_source_leaves_the_earlier_thousands(jobs):
    task = jobs.task(name="t")(lambda n: None)

    def source():
        for n in range(1500):
            yield task.prepare(n)
        raise OSError("the file ended")

    with pytest.raises(OSError, match="the file ended"):
        jobs.enqueue_many(source())
    assert jobs.store.count()[0].ready == 1000


def test_async_enqueue(jobs):
    task = jobs.task(name="t")(lambda n: None)

    async def main():
        one = await task.aenqueue(1)
        two = await task.using(delay=5).aenqueue(2)
        many = await jobs.aenqueue_many(task.prepare(n) for n in range(3))
        return [one, two, *many]

    assert all(job.enqueued for job in asyncio.run(main()))
    [stats] = jobs.store.count()
    assert (stats.ready, stats.scheduled) == (4, 1)


@pytest.mark.parametrize("until", ["start", "finish", "time"])
def test_unique_keys_last_as_told(jobs, bench, until):
    task = jobs.task(name="t", unique=True, unique_until=until, unique_for=3600)(
        lambda n, again=False: again and task.enqueue(n)
    )
    first, second = task.enqueue(1), task.enqueue(1)
    assert (first.enqueued, second.enqueued) == (True, False)
    assert task.enqueue(2).enqueued
    bench.drain()
    assert task.enqueue(1).enqueued == (until != "time")


def test_unique_by_arguments_sees_defaults_and_keywords(jobs):
    task = jobs.task(name="t", unique=True)(lambda a, b=2: None)
    assert task.enqueue(1).enqueued
    assert not task.enqueue(1, 2).enqueued
    assert not task.enqueue(b=2, a=1).enqueued
    assert task.enqueue(1, 3).enqueued


def test_a_unique_key_of_ones_own(jobs):
    task = jobs.task(name="t", unique=lambda order_id, note: f"{order_id}")(
        lambda order_id, note: None
    )
    other = jobs.task(name="o")(lambda: None)
    assert task.enqueue(1, "a").enqueued
    assert not task.enqueue(1, "b").enqueued
    assert other.using(unique="1").enqueue().enqueued, "keys belong to their task"
