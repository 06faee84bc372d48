"""Limits of tasks, run by a real worker in a thread; and limits taken by hand."""

from __future__ import annotations

import asyncio
import threading

import msgspec
import pytest

from process.rig import wait_until
from turnout import ArgumentError, ConfigError, LimitFull, concurrency, current_job, rate
from turnout.job import JobFilter, State


def states(jobs, task) -> list[State]:
    found = jobs.store.find(JobFilter(task=task.name), limit=1_000)
    return [record.state for record in reversed(found)]


def until_over(jobs, task, timeout=20.0) -> list[State]:
    wait_until(lambda: all(each.is_final for each in states(jobs, task)), timeout=timeout)
    return states(jobs, task)


class Holder:
    """A task's body that holds until it is released, and knows who is inside."""

    def __init__(self) -> None:
        self.inside: list[object] = []
        self.go = threading.Event()

    def __call__(self, name: object) -> None:
        self.inside.append(name)
        self.go.wait(20)


def test_no_more_jobs_run_than_the_limit_and_others_pass_them(jobs, worker):
    holder, passed = Holder(), []

    @jobs.task(name="held", limit=concurrency("one", 1))
    def held(n: int) -> None:
        holder(n)

    @jobs.task(name="free")
    def free(n: int) -> None:
        passed.append(n)

    for n in range(5):
        held.enqueue(n)
    for n in range(20):
        free.enqueue(n)
    worker()
    wait_until(lambda: len(passed) == 20)
    assert len(holder.inside) == 1
    holder.go.set()
    assert until_over(jobs, held) == [State.SUCCEEDED] * 5
    attempts = {record.attempt for record in jobs.store.find(JobFilter(task="held"))}
    assert attempts == {1}, "waiting for a slot burns no attempt"


def test_each_value_of_an_argument_has_a_ceiling_of_its_own(jobs, worker):
    holder = Holder()

    @jobs.task(name="sync", limit=concurrency("account", 1, by="account"))
    def sync(n: int, account: str = "a") -> None:
        holder(account)

    for n, account in enumerate("aabb"):
        sync.enqueue(n, account)
    worker()
    wait_until(lambda: len(holder.inside) == 2)
    assert sorted(holder.inside) == ["a", "b"]
    holder.go.set()
    assert until_over(jobs, sync) == [State.SUCCEEDED] * 4


def test_a_function_names_the_key_and_a_bad_one_is_refused_at_enqueue(jobs, worker):
    @jobs.task(name="mail", limit=concurrency("domain", 1, by=lambda to: to.partition("@")[2]))
    def mail(to: str) -> None: ...

    with pytest.raises(ArgumentError, match="limit 'domain'"):
        mail.enqueue("x@" + "y" * 300)
    mail.enqueue("x@example.org")
    worker()
    assert until_over(jobs, mail) == [State.SUCCEEDED]


def test_a_job_over_a_limit_that_discards_is_over(jobs, worker):
    holder = Holder()

    @jobs.task(name="once", limit=concurrency("once", 1, on_conflict="discard"))
    def once(n: int) -> None:
        holder(n)

    once.enqueue(1)
    worker()
    wait_until(lambda: holder.inside)
    second = once.enqueue(2)
    wait_until(lambda: second.refresh().state is State.DISCARDED)
    assert "limit of once is full" in (second.refresh().reason or "")
    holder.go.set()
    assert until_over(jobs, once) == [State.SUCCEEDED, State.DISCARDED]


def test_a_newer_job_replaces_the_one_that_waits(jobs, worker):
    holder = Holder()

    @jobs.task(name="latest", limit=concurrency("latest", 1, on_conflict="replace"))
    def latest(n: int) -> None:
        holder(n)

    latest.enqueue(1)
    worker()
    wait_until(lambda: holder.inside)
    waits, newest = latest.enqueue(2), latest.enqueue(3)
    wait_until(lambda: waits.refresh().state is State.DISCARDED)
    assert "a newer job" in (waits.refresh().reason or "")
    holder.go.set()
    wait_until(lambda: newest.refresh().state is State.SUCCEEDED)
    assert holder.inside == [1, 3]


def test_a_rate_lets_no_more_start_than_it_says(jobs, worker):
    starts: list[int] = []

    @jobs.task(name="call", limit=rate("api", 3, per=3_600))
    def call(n: int) -> None:
        starts.append(n)

    @jobs.task(name="last")
    def last() -> None: ...

    for n in range(10):
        call.enqueue(n)
    final = last.enqueue()
    made = worker()
    assert made is None
    wait_until(lambda: final.refresh().state is State.SUCCEEDED)
    wait_until(lambda: states(jobs, call).count(State.SUCCEEDED) == 3)
    waiting = jobs.store.find(JobFilter(task="call", states=(State.QUEUED,)))
    assert len(waiting) == 7
    assert {record.attempt for record in waiting} == {0}
    assert len(starts) == 3


def test_a_job_needs_all_its_limits_and_holds_none_of_them_in_vain(jobs, worker):
    holder, passed = Holder(), []

    @jobs.task(name="both", limit=[concurrency("narrow", 1), concurrency("wide", 2)])
    def both(n: int) -> None:
        holder(n)

    @jobs.task(name="wide", limit=concurrency("wide", 2))
    def wide(n: int) -> None:
        passed.append(n)

    both.enqueue(1)
    both.enqueue(2)
    worker()
    wait_until(lambda: holder.inside)
    wide.enqueue(3)
    wait_until(lambda: passed == [3])
    assert len(holder.inside) == 1
    holder.go.set()
    assert until_over(jobs, both) == [State.SUCCEEDED] * 2


def test_what_a_job_carries_is_not_part_of_its_context(jobs, worker):
    seen = []

    @jobs.task(name="look", limit=concurrency("look", 1))
    def look() -> None:
        seen.append(current_job().context)

    look.enqueue()
    worker()
    wait_until(lambda: seen == [{}])


def test_limits_that_make_no_sense_send_the_job_back_and_the_worker_goes_on(jobs, worker):
    @jobs.task(name="odd")
    def odd() -> None: ...

    jobs.store.setup()
    limit = '{"kind":"concurrency","key":"k","most":1,"ttl":1,"chained":false,"held":false}'
    made = odd.prepare().new
    context = f'{{"turnout:limits":{{"limits":[{limit},{limit}]}}}}'
    jobs.store.enqueue([msgspec.structs.replace(made, context=context)])
    worker()
    wait_until(lambda: (jobs.job(made.id).refresh().run_at or 0) > jobs.clock() + 5)
    plain = odd.enqueue()
    wait_until(lambda: plain.refresh().state is State.SUCCEEDED)
    assert jobs.job(made.id).refresh().attempt == 0


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (3, "limit= takes"),
        ([concurrency("a", 1), "b"], "takes concurrency"),
        ([concurrency("a", 1), concurrency("a", 2)], "is both 1"),
        (concurrency("a", 1, by="nobody"), "does not take; it takes: n"),
    ],
)
def test_a_wrong_declaration_is_refused(jobs, limit, said):
    with pytest.raises(ConfigError, match=said):

        @jobs.task(limit=limit)
        def task(n: int) -> None: ...


def test_two_tasks_may_share_a_limit_and_not_contradict_each_other(jobs):
    @jobs.task(name="one", limit=concurrency("shared", 2))
    def one() -> None: ...

    @jobs.task(name="two", limit=concurrency("shared", 2))
    def two() -> None: ...

    with pytest.raises(ConfigError, match="'shared' is both 2"):

        @jobs.task(name="three", limit=concurrency("shared", 3))
        def three() -> None: ...

    assert "three" not in jobs.tasks


# ---- by hand


def test_a_limit_held_by_hand_is_given_back(jobs):
    held = jobs.limit(concurrency("stripe", 1))
    refused = pytest.raises(LimitFull, match="stayed full \\(1 of 1\\)")
    with held.acquire(), refused, held.acquire(timeout=0.05):
        pass
    with held.acquire(timeout=0):
        pass


def test_an_error_in_the_block_gives_the_slot_back(jobs):
    held = jobs.limit(concurrency("stripe", 1))
    with pytest.raises(ZeroDivisionError), held.acquire():
        raise ZeroDivisionError
    with held.acquire(timeout=0):
        pass


def test_who_waits_gets_the_slot_once_it_is_free(jobs):
    held = jobs.limit(concurrency("stripe", 1))
    got = threading.Event()

    def wait() -> None:
        with held.acquire(timeout=20):
            got.set()

    with held.acquire():
        thread = threading.Thread(target=wait)
        thread.start()
    thread.join(20)
    assert got.is_set()


def test_what_is_held_for_longer_than_its_lease_stays_held(jobs):
    limit = concurrency("stripe", 1, lease=0.3)
    look = [limit.mark("nobody")]
    with jobs.limit(limit).acquire():
        [first] = jobs.store.mark(look)
        wait_until(lambda: (jobs.store.mark(look)[0].until or 0) > first.until + 0.5)
    assert jobs.store.mark(look)[0].granted


def test_a_coroutine_holds_a_limit_without_blocking_its_loop(jobs):
    held = jobs.limit(concurrency("stripe", 1))
    order: list[str] = []

    async def one(name: str) -> None:
        async with held.aacquire(timeout=20):
            order.append(f"{name} in")
            await asyncio.to_thread(order.append, f"{name} out")

    async def both() -> None:
        await asyncio.gather(one("a"), one("b"))

    asyncio.run(both())
    assert [line.split()[1] for line in order] == ["in", "out", "in", "out"]


def test_a_limit_is_found_by_the_key_that_a_task_declares(jobs):
    @jobs.task(limit=concurrency("stripe", 1))
    def charge() -> None: ...

    held = jobs.limit("stripe")
    with held.acquire(), pytest.raises(LimitFull), held.acquire(timeout=0):
        pass
    with pytest.raises(ConfigError, match="known are: stripe"):
        jobs.limit("other")
    with pytest.raises(ConfigError, match="give the whole key"):
        jobs.limit(concurrency("a", 1, by="account"))
