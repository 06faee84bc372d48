"""Transactional tasks: what is committed with them, what is not, and what is refused."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import sessionmaker

from turnout import Turnout, current_job, exactly
from turnout.errors import ConfigError, JobError
from turnout.job import JobFilter, State
from unit.harness import Bench


@pytest.fixture
def path(tmp_path) -> str:
    with sqlite3.connect(tmp_path / "shop.db") as db:
        db.execute("CREATE TABLE charge (order_id INTEGER)")
    db.close()
    return str(tmp_path / "shop.db")


@pytest.fixture
def jobs(path):
    app = Turnout(f"sqlite:///{path}")
    yield app
    app.close()


def charges(path: str) -> list[int]:
    db = sqlite3.connect(path)
    try:
        return [row[0] for row in db.execute("SELECT order_id FROM charge")]
    finally:
        db.close()


def states(jobs: Turnout) -> dict[str, State]:
    return {record.task: record.state for record in jobs.store.find(JobFilter())}


def charge(order: int) -> None:
    current_job().connection.execute(f"INSERT INTO charge VALUES ({order})")


def test_writes_and_follow_up_jobs_are_committed_with_the_success(jobs, path):
    @jobs.task(name="receipt")
    def receipt(order: int) -> None: ...

    @jobs.task(name="pay", transactional=True)
    def pay(order: int) -> str:
        charge(order)
        receipt.enqueue(order)
        return "paid"

    handle = pay.enqueue(7)
    assert Bench(jobs).drain(most=1) == 1
    assert charges(path) == [7]
    assert handle.refresh().result == '"paid"'
    assert states(jobs) == {"pay": State.SUCCEEDED, "receipt": State.QUEUED}


def test_an_attempt_that_raises_leaves_no_write_and_no_follow_up(jobs, path):
    @jobs.task(name="receipt")
    def receipt(order: int) -> None: ...

    @jobs.task(name="pay", transactional=True, wait=exactly(60))
    def pay(order: int) -> None:
        charge(order)
        receipt.enqueue(order)
        raise ConnectionError

    pay.enqueue(7)
    assert Bench(jobs).drain(most=1) == 1
    assert charges(path) == []
    assert states(jobs) == {"pay": State.QUEUED}


def test_an_attempt_whose_lease_was_lost_leaves_no_write(jobs, path):
    @jobs.task(name="pay", transactional=True)
    def pay(order: int) -> None:
        charge(order)

    bench = Bench(jobs)
    pay.enqueue(7)
    jobs.store.setup()
    jobs.store.heartbeat(bench.info, ttl=3600)
    from turnout.job import Want

    [leased] = jobs.store.exchange(bench.epoch, [], Want((("*", 1),), 1)).leased
    jobs.store.reap(epoch=bench.epoch)
    outcome = bench.attempt(leased)
    assert (outcome.settled, charges(path)) == (False, [])
    assert jobs.store.exchange(bench.epoch, [outcome], None).settled == []


def test_a_session_of_the_applications_own_carries_the_settle(jobs, path):
    engine = create_engine(f"sqlite:///{path}")
    session = sessionmaker(engine)

    @jobs.task(name="pay", transactional=session.begin)
    def pay(order: int, fail: bool) -> None:
        current_job().connection.execute(text(f"INSERT INTO charge VALUES ({order})"))
        if fail and current_job().attempt == 1:
            raise ConnectionError

    handles = [pay.enqueue(1, fail=False), pay.enqueue(2, fail=True)]
    bench = Bench(jobs)
    bench.drain()
    assert (charges(path), handles[0].refresh().state) == ([1], State.SUCCEEDED)
    bench.drain(at=jobs.clock() + 3600)
    assert (sorted(charges(path)), handles[1].refresh().state) == ([1, 2], State.SUCCEEDED)
    engine.dispose()


def test_a_task_that_commits_by_itself_is_told_to_leave_that_to_the_worker(jobs, path):
    @jobs.task(name="pay", transactional=True, attempts=1)
    def pay(order: int) -> None:
        charge(order)
        current_job().connection.execute("COMMIT")

    handle = pay.enqueue(7)
    Bench(jobs).drain(most=1)
    record = handle.refresh()
    assert record.state is State.DEAD
    message = record.attempts[-1].message
    assert message is not None
    assert "transaction" in message


def test_progress_within_a_transaction_of_sqlite_does_not_wait_for_itself(jobs, path):
    @jobs.task(name="pay", transactional=True)
    def pay(order: int) -> None:
        charge(order)
        current_job().progress(0.5)

    handle = pay.enqueue(7)
    Bench(jobs).drain(most=1)
    assert handle.refresh().state is State.SUCCEEDED


def test_the_connection_of_a_task_that_is_not_transactional_is_refused(jobs):
    seen: list[Any] = []

    @jobs.task(name="pay")
    def pay() -> None:
        with pytest.raises(JobError, match="transactional=True") as refused:
            current_job().connection  # noqa: B018 - asking is what is refused
        seen.append(refused.value)

    pay.enqueue()
    Bench(jobs).drain(most=1)
    assert seen


def test_what_cannot_be_transactional_is_refused_at_decoration(jobs):
    with pytest.raises(ConfigError, match=r"Session\.begin"):
        jobs.task(transactional="yes")

    with pytest.raises(ConfigError, match="async def"):

        @jobs.task(transactional=True)
        async def pay() -> None: ...
