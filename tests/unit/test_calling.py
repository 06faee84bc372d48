"""`current_job().dependency(...)`, in jobs that a real worker runs."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from process.rig import wait_until
from turnout import ConfigError, Deferred, LimitFull, Retry, Turnout, current_job, discard_on
from turnout.errors import StoreUnavailable
from turnout.job import State
from turnout.limits import Adaptive, Breaker
from turnout.store.sharded.placement import owner
from turnout.worker.options import WorkerOptions
from turnout.worker.process import WorkerProcess, run_in_thread


class TooMany(Exception):
    status_code = 429
    headers = {"Retry-After": "30"}


def ended(job, timeout=20.0):
    wait_until(lambda: job.refresh().state.is_final, timeout=timeout)
    return job.refresh()


def one_at_a_time(jobs):
    return jobs.dependency("stripe", adaptive=Adaptive(start=1, most=1))


def test_an_open_dependency_defers_the_job_and_burns_no_attempt(jobs, worker):
    before, after = [], []

    @jobs.task(name="charge")
    def charge(n: int) -> None:
        before.append(n)
        with current_job().dependency("stripe"):
            after.append(n)

    jobs.store.setup()
    jobs.dependency("stripe").open()
    job = charge.enqueue(1)
    worker()
    wait_until(lambda: before and (job.refresh().run_at or 0) > jobs.clock())
    assert (after, job.refresh().attempt, job.refresh().state) == ([], 0, State.QUEUED)
    jobs.dependency("stripe").close()
    record = ended(job)
    assert (record.state, record.attempt, after) == (State.SUCCEEDED, 1, [1])


def test_async_blocks_share_the_slots_and_give_them_back(jobs, worker):
    watched = one_at_a_time(jobs)
    inside, most = [], []

    @jobs.task(name="call")
    async def call(n: int) -> None:
        async with current_job().dependency("stripe", wait=20):
            inside.append(n)
            most.append(len(inside))
            await asyncio.sleep(0.01)
            inside.remove(n)

    handles = [call.enqueue(n) for n in range(6)]
    worker()
    assert {ended(job).state for job in handles} == {State.SUCCEEDED}
    assert (len(most), max(most)) == (6, 1)
    assert watched.look().in_flight == 0


def test_a_block_shares_its_slot_with_a_task_that_declares_it(jobs, worker):
    one_at_a_time(jobs)
    holds, go = threading.Event(), threading.Event()

    @jobs.task(name="declares", dependency="stripe")
    def declares() -> None:
        holds.set()
        go.wait(20)

    @jobs.task(name="calls", attempts=1)
    def calls() -> None:
        with current_job().dependency("stripe", defer=False):
            pass

    declares.enqueue()
    worker()
    assert holds.wait(10)
    record = ended(calls.enqueue())
    go.set()
    assert record.state is State.DEAD
    assert record.attempts[-1].error == "turnout.errors.LimitFull"
    assert "its adaptive limit is 1" in (record.attempts[-1].message or "")


@pytest.mark.parametrize(
    ("error", "phase", "waits"),
    [
        (TooMany("slow down"), "open", True),
        (ConnectionError("gone"), "open", False),
        (LookupError("the card is not known"), "closed", False),
        (Retry("later", after=600), "open", False),
    ],
)
def test_how_the_block_ends_counts_for_the_dependency(jobs, worker, error, phase, waits):
    watched = jobs.dependency("stripe", breaker=Breaker(min_calls=1, share=0.5))

    @jobs.task(name="charge", on_error=[discard_on(LookupError)])
    def charge() -> None:
        with current_job().dependency("stripe"):
            raise error

    job = charge.enqueue()
    worker()
    wait_until(lambda: job.refresh().attempt == 1)
    state = watched.look()
    assert state.breaker.phase == phase
    assert (state.cooldown.until > jobs.clock() + 20) is waits


def test_a_slow_answer_counts_though_nothing_was_raised(jobs, worker):
    rule = Breaker(min_calls=1, share=0.5, slow_after=0.01)
    watched = jobs.dependency("stripe", breaker=rule)

    @jobs.task(name="charge")
    def charge() -> None:
        with current_job().dependency("stripe"):
            threading.Event().wait(0.05)

    job = charge.enqueue()
    worker()
    ended(job)
    assert watched.look().breaker.phase == "open"


def test_contradictions_and_unknown_names_are_told(jobs, worker):
    one_at_a_time(jobs)
    said = {}

    def refused(call, *names, **options) -> None:
        try:
            with current_job().dependency(*names, **options):
                pass
        except ConfigError as error:
            said[call] = str(error)

    @jobs.task(name="declares", dependency="stripe")
    def declares() -> None:
        refused("declared", "stripe")

    @jobs.task(name="nests")
    def nests() -> None:
        with current_job().dependency("stripe"):
            refused("nested", "stripe")
        refused("unknown", "strip")
        refused("negative", "stripe", wait=-1)

    @jobs.task(name="blocks")
    async def blocks() -> None:
        refused("loop", "stripe")

    worker()
    for task in (declares, nests, blocks):
        assert ended(task.enqueue()).state is State.SUCCEEDED
    assert "task declares declares it" in said["declared"]
    assert "in such a block" in said["nested"]
    assert "declared are: stripe" in said["unknown"]
    assert "wait=" in said["negative"]
    assert "async with" in said["loop"]


def test_deferred_says_what_and_when(jobs, bench):
    jobs.store.setup()
    jobs.dependency("stripe").open()
    seen = []

    @jobs.task(name="charge")
    def charge() -> None:
        try:
            with current_job().dependency("stripe"):
                pass
        except Deferred as error:
            seen.append(error)
            raise
        except LimitFull:
            seen.append(None)

    charge.enqueue()
    bench.drain()
    [error] = seen
    assert error.dependency == "stripe"
    assert error.until > jobs.clock()


# ---- while the state is away


class Away:
    """A store whose marks cannot be reached."""

    def __init__(self, store) -> None:
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    def mark(self, marks, *, now=None):
        raise StoreUnavailable("no route to it")


def test_while_the_store_keeps_no_marks_calls_pass_and_it_is_said_once(jobs, bench, caplog):
    jobs.store.setup()
    jobs._store = Away(jobs.store)
    ran = []

    @jobs.task(name="charge")
    def charge(n: int) -> None:
        with current_job().dependency("stripe"):
            ran.append(n)

    for n in range(3):
        charge.enqueue(n)
    with caplog.at_level(logging.WARNING):
        bench.drain()
    assert ran == [0, 1, 2]
    told = [each for each in caplog.records if "cannot be reached" in each.message]
    assert [each.levelname for each in told] == ["WARNING"], "once a minute"
    jobs.dependency("stripe")._told_at -= 61
    with caplog.at_level(logging.WARNING):
        charge.enqueue(3)
        bench.drain()
    assert len([each for each in caplog.records if "cannot be reached" in each.message]) == 2


def dependency_on(shard: str) -> str:
    """Return a name whose state lives on a shard, and whose slots on the other."""
    return next(
        name
        for name in map("service{}".format, range(1_000))
        if owner(("a", "b"), f"state {name}") == shard
        and owner(("a", "b"), f"concurrency:dependency:{name}") != shard
    )


@pytest.mark.parametrize("shard", ["a", "b"])
def test_while_a_shard_is_away_tasks_and_blocks_call_on_and_say_so(tmp_path, shard, caplog):
    app = Turnout(f"sharded:a=sqlite:///{tmp_path}/a.db|b=sqlite:///{tmp_path}/b.db")
    app.store.setup()
    for index, named in enumerate((dependency_on("a"), dependency_on("b"))):

        @app.task(name=f"declares{index}", dependency=named)
        def declares() -> None: ...

        @app.task(name=f"calls{index}")
        def calls(named: str = named) -> None:
            with current_job().dependency(named):
                pass

    _mute(app, shard)
    made = WorkerProcess(app, WorkerOptions(threads=2, heartbeat=0.2, dead_after=5))
    thread = run_in_thread(made)
    for task in app.tasks.values():
        app.enqueue_many(task.prepare() for _ in range(3))
    try:
        wait_until(lambda: sum(each.succeeded for each in app.store.count()) == 12)
    finally:
        made.stop()
        thread.join(10)
        app.close()
    told = [each.getMessage() for each in caplog.records if "cannot be reached" in each.message]
    assert len(told) == 2, "for each of both, once"


def _mute(app, name: str) -> None:
    """Let a shard fail at every mark, and answer all else."""
    shard = app.store._shards.view().by_name[name]
    shard.store.mark = Away(None).mark
