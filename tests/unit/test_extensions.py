"""Middleware, events and context, and an application used from many threads."""

from __future__ import annotations

import threading
from contextvars import ContextVar

import msgspec
import pytest

from turnout import (
    State,
    current_job,
)
from turnout.events import JobEnqueued, JobEvent, JobStarted, JobSucceeded
from turnout.job import JobFilter


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
