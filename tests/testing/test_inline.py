"""`inline`: an enqueue that runs the job."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from turnout import State, current_job
from turnout.events import JobEnqueued, JobStarted, JobSucceeded
from turnout.testing import FakeClock, drain, enqueued, inline


def test_the_job_has_run_when_enqueue_returns(shop):
    with inline(shop.jobs):
        job = shop.charge.enqueue(7, cents=3)
        assert shop.done == [("charge", 7, 3)]
        assert job.wait(0) == 3
        assert job.refresh().state is State.SUCCEEDED


def test_jobs_that_a_job_enqueues_run_too(shop):
    with inline(shop.jobs):
        shop.place.enqueue(7)
    assert shop.done == [("charge", 7, 100), ("mail", "ada@example.org"), ("place", 7)]


def test_arguments_travel_as_json(shop):
    with inline(shop.jobs):
        seen = []

        @shop.jobs.task
        def pack(items: tuple[int, ...]) -> None:
            seen.append((items, current_job().attempt))

        pack.enqueue((1, 2))
    assert seen == [((1, 2), 1)]


def test_a_failure_reaches_the_test_and_is_recorded(shop):
    shop.failures = [shop.Flaky("no line")]
    with inline(shop.jobs):
        with pytest.raises(shop.Flaky, match="no line"):
            shop.charge.enqueue(7)
        [record] = enqueued(shop.jobs)
    assert (record.attempt, record.attempts[0].message) == (1, "no line")


def test_a_failure_is_only_recorded_when_asked(shop):
    shop.failures = [shop.Flaky("no line")]
    with inline(shop.jobs, raise_errors=False):
        job = shop.charge.enqueue(7)
        assert job.refresh().attempt == 1


def test_what_a_rule_discards_is_no_failure(shop):
    shop.failures = [shop.OutOfStock()]
    with inline(shop.jobs):
        assert shop.charge.enqueue(7).refresh().state is State.DISCARDED


def test_a_job_does_not_fail_with_the_job_it_enqueues(shop):
    shop.failures = [shop.Flaky("no line")]
    with inline(shop.jobs), pytest.raises(shop.Flaky):
        shop.place.enqueue(7)
    assert ("place", 7) in shop.done


def test_retries_wait_for_a_drain(shop):
    shop.failures = [shop.Flaky()]
    with inline(shop.jobs, raise_errors=False), FakeClock().installed(shop.jobs):
        job = shop.charge.enqueue(7)
        assert shop.done == []
        assert drain(shop.jobs, until=61) == {"succeeded": 1}
        assert job.wait(0) == 100


def test_later_jobs_wait(shop):
    with inline(shop.jobs):
        shop.charge.using(delay=60).enqueue(7)
        shop.charge.enqueue(8)
        assert shop.done == [("charge", 8, 100)]
        assert len(enqueued(shop.jobs)) == 1


def test_many_run_in_the_order_of_a_queue(shop):
    with inline(shop.jobs):
        prepared = [shop.charge.using(priority=p).prepare(p) for p in (0, 5, -5)]
        shop.jobs.enqueue_many(prepared)
    assert [order for _, order, _ in shop.done] == [5, 0, -5]


def test_it_works_inside_a_coroutine(shop):
    async def request():
        await shop.mail.aenqueue("a@example.org")
        shop.mail.enqueue("b@example.org")
        await shop.charge.aenqueue(7)
        async with shop.jobs.within(object()):
            await shop.mail.aenqueue("c@example.org")

    with inline(shop.jobs):
        asyncio.run(request())
    assert [what[1] for what in shop.done] == ["a@example.org", "b@example.org", 7, "c@example.org"]


def test_a_unique_key_is_free_again_after_the_run(shop):
    once = shop.jobs.task(name="once", unique=True)(lambda: None)
    with inline(shop.jobs):
        assert once.enqueue().enqueued
        assert once.enqueue().enqueued


def test_a_paused_queue_stays_paused(shop):
    with inline(shop.jobs) as store:
        store.pause("default", paused=True)
        shop.charge.enqueue(7)
        assert shop.done == []


def test_context_and_middleware_and_events_are_those_of_production(shop):
    tenant = ContextVar("tenant")
    shop.jobs.propagate(tenant)
    seen = []
    shop.jobs.around_run(lambda job, proceed: (seen.append(job.context), proceed(job))[1])
    for kind in (JobStarted, JobSucceeded, JobEnqueued):
        shop.jobs.on(kind)(lambda event: seen.append(type(event).__name__))
    tenant.set("acme")
    with inline(shop.jobs):
        shop.charge.enqueue(7)
    assert seen == ["JobStarted", {"tenant": "acme"}, "JobSucceeded", "JobEnqueued"]


def test_an_interrupt_ends_the_test(shop):
    @shop.jobs.task
    def stopped() -> None:
        raise KeyboardInterrupt

    with inline(shop.jobs, raise_errors=False), pytest.raises(KeyboardInterrupt):
        stopped.enqueue()


def test_a_failed_assertion_of_pytest_reaches_the_test(shop):
    @shop.jobs.task
    def picky() -> None:
        pytest.fail("not this way")

    with inline(shop.jobs), pytest.raises(pytest.fail.Exception, match="not this way"):
        picky.enqueue()
