"""The public face: tasks, calls, handles, extensions, seen through a worker's own parts."""

from __future__ import annotations

import asyncio
import threading
import time
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from turnout import (
    JobFailed,
    JobNotFound,
    JobTimeout,
    State,
    Turnout,
    UnknownTask,
    current_job,
)
from turnout.events import JobEnqueued, JobEvent, JobStarted, JobSucceeded
from turnout.job import JobFilter
from turnout.worker.options import WorkerOptions
from turnout.worker.process import WorkerProcess, run_in_thread
from unit.harness import Bench


@pytest.fixture(params=("memory:", "sqlite:///jobs.db"))
def jobs(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = Turnout(request.param)
    yield app
    app.close()


@pytest.fixture
def bench(jobs):
    return Bench(jobs)


@pytest.fixture
def worker(jobs):
    """A real worker in a thread, started when called."""
    started = []

    def start(**options):
        made = WorkerProcess(jobs, WorkerOptions(threads=2, heartbeat=0.2, dead_after=5, **options))
        started.append((made, run_in_thread(made)))

    yield start
    for made, thread in started:
        made.stop()
        thread.join(10)
        assert not thread.is_alive()


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
            key=job.idempotency_key, left=job.deadline - time.time(), flags=(job.cancelled, job.lost),
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
    task = jobs.task(name="t")(lambda n: order.append(n))
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
    assert seen == [2000]
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


# ---- handles


def test_a_handle_tells_and_waits(jobs, worker):
    task = jobs.task(name="t")(lambda n: n * 2)
    worker()
    job = task.enqueue(21)
    assert job.wait(10) == 42
    assert job.refresh().state is State.SUCCEEDED
    assert jobs.job(job.id.upper()).wait(1) == 42
    assert asyncio.run(job.await_result(1)) == 42
    assert asyncio.run(job.arefresh()).result == "42"


def test_results_come_back_as_annotated(jobs, bench):
    @jobs.task(name="t")
    def when() -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC)

    job = when.enqueue()
    bench.drain()
    assert job.wait(1) == datetime(2030, 1, 1, tzinfo=UTC)


def test_waiting_for_a_failure_and_for_too_long(jobs, bench):
    def fail():
        raise ValueError("no such order")

    job = jobs.task(name="t", attempts=1)(fail).enqueue()
    with pytest.raises(JobTimeout, match="still queued"):
        job.wait(0.05)
    with pytest.raises(JobTimeout):
        asyncio.run(job.await_result(0.05))
    bench.drain()
    with pytest.raises(JobFailed, match="dead") as error:
        job.wait(1)
    assert error.value.record.error == "ValueError"


def test_a_job_that_was_never_recorded(jobs):
    task = jobs.task(name="t", unique=True)(lambda: None)
    task.enqueue()
    refused = task.enqueue()
    for verb in (refused.refresh, lambda: refused.wait(1)):
        with pytest.raises(JobNotFound, match="no trace"):
            verb()
    assert refused.cancel() is False


def test_cancelling_a_queued_job(jobs, bench):
    task = jobs.task(name="t", unique=True)(lambda: pytest.fail("it ran"))
    job = task.enqueue()
    assert job.cancel() is True
    assert job.cancel() is False
    assert bench.drain() == 0
    assert job.refresh().state is State.CANCELLED
    assert task.enqueue().enqueued, "its key is free"


def test_a_result_over_the_cap_is_not_kept(tmp_path):
    app = Turnout("memory:", max_result=10)
    task = app.task(name="t")(lambda n: "x" * n)
    fits, over = task.enqueue(8), task.enqueue(9)
    Bench(app).drain()
    assert fits.wait(1) == "x" * 8
    assert over.wait(1) is None
    assert "limit is 10" in over.refresh().reason


def test_keep_0_leaves_no_trace(jobs, bench):
    job = jobs.task(name="t", keep=0)(lambda: None).enqueue()
    bench.drain()
    with pytest.raises(JobNotFound):
        job.refresh()
    assert sum(stats.succeeded for stats in jobs.store.count()) == 0


def test_keep_by_queue(tmp_path):
    app = Turnout("memory:", keep={"mail": 0, "*": 60})
    task = app.task(name="t")(lambda: None)
    gone, kept = task.using(queue="mail").enqueue(), task.enqueue()
    Bench(app).drain()
    assert [r.id for r in app.store.find(JobFilter())] == [kept.id]
    assert gone.enqueued


# ---- extensions


def test_around_enqueue_changes_and_vetoes_in_order(jobs, bench):
    seen = []

    @jobs.around_enqueue
    def outer(job, proceed):
        seen.append(("outer", job.task, job.queue))
        return proceed(msgspec.structs.replace(job, queue="shaped"))

    @jobs.around_enqueue
    def inner(job, proceed):
        seen.append(("inner", job.task, job.queue))
        return None if job.task == "vetoed" else proceed(job)

    kept = jobs.task(name="kept")(lambda: None).enqueue()
    vetoed = jobs.task(name="vetoed")(lambda: None).enqueue()
    assert seen[:2] == [("outer", "kept", "default"), ("inner", "kept", "shaped")]
    assert kept.refresh().queue == "shaped"
    assert (kept.enqueued, vetoed.enqueued) == (True, False)
    assert len(jobs.store.find(JobFilter())) == 1
    mixed = jobs.enqueue_many(jobs.tasks[name].prepare() for name in ("kept", "vetoed", "kept"))
    assert [job.enqueued for job in mixed] == [True, False, True]


def test_an_enqueue_layer_that_raises_records_nothing(jobs):
    @jobs.around_enqueue
    def broken(job, proceed):
        raise LookupError("tenant")

    with pytest.raises(LookupError, match="tenant"):
        jobs.task(name="t")(lambda: None).enqueue()
    assert jobs.store.count() == []


def test_around_run_wraps_each_kind_by_its_kind(jobs, bench):
    seen = []

    @jobs.around_run
    def sync_layer(job, proceed):
        seen.append(("sync", job.task, job.arguments[1] or job.arguments[0]))
        return proceed(job) + 1

    @jobs.around_run
    async def async_layer(job, proceed):
        seen.append(("async", job.task))
        return await proceed(job) + 10

    @jobs.task(name="s")
    def s(n: int) -> int:
        return n

    @jobs.task(name="a")
    async def a(n: int) -> int:
        return n

    first, second = s.enqueue(1), a.enqueue(1)
    bench.drain()
    assert (first.wait(1), second.wait(1)) == (2, 11)
    assert [one[:2] for one in seen] == [("sync", "s"), ("async", "a")]


def test_events_tell_the_story_and_their_listeners_cannot_spoil_it(jobs, bench):
    story = []

    @jobs.on(JobEvent)
    def told(event):
        story.append(type(event))
        raise RuntimeError("a broken listener")

    job = jobs.task(name="t")(lambda: None).enqueue()
    bench.drain()
    assert story == [JobEnqueued, JobStarted, JobSucceeded]
    assert job.refresh().state is State.SUCCEEDED


def test_registered_context_travels_and_nothing_leaks_between_jobs(jobs, bench):
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    private: ContextVar[str] = ContextVar("private", default="clean")
    jobs.propagate(tenant)
    seen = []

    @jobs.task(name="look")
    def look() -> None:
        seen.append((tenant.get(), private.get(), current_job().context))
        tenant.set("dirty")
        private.set("dirty")

    @jobs.task(name="alook")
    async def alook() -> None:
        look.fn()

    for task in (look, alook):
        token = tenant.set("acme")
        task.enqueue()
        tenant.reset(token)
        task.enqueue()
    bench.drain()
    assert seen == [("acme", "clean", {"tenant": "acme"}), ("nobody", "clean", {})] * 2
    assert (tenant.get(), private.get()) == ("nobody", "clean")


def test_jobs_of_one_real_worker_do_not_share_context(jobs, worker):
    var: ContextVar[str] = ContextVar("var", default="clean")
    seen = []

    def look():
        seen.append(var.get())
        var.set("dirty")

    async def alook():
        look()

    tasks = [jobs.task(name="look")(look), jobs.task(name="alook")(alook)]
    worker(concurrency=2)
    handles = [task.enqueue() for _ in range(20) for task in tasks]
    for handle in handles:
        handle.wait(10)
    assert seen == ["clean"] * 40


def test_a_handler_may_be_used_from_many_threads(jobs):
    task = jobs.task(name="t")(lambda n: None)
    errors = []

    def work():
        try:
            for n in range(20):
                task.enqueue(n)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert jobs.store.count()[0].ready == 80


def test_the_store_may_be_closed_and_used_again(jobs):
    task = jobs.task(name="t")(lambda: None)
    jobs.close()
    task.enqueue()
    jobs.close()
    if jobs.url != "memory:":
        assert jobs.store.count()[0].ready == 1
    task.enqueue()
