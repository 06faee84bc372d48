"""jobs.within: enqueue in the caller's own transaction, or refuse to pretend."""

from __future__ import annotations

import asyncio
import sqlite3
import threading

import aiosqlite
import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from turnout import Turnout, WithinError
from turnout.job import WorkerInfo


@pytest.fixture
def jobs(tmp_path):
    app = Turnout(f"sqlite:///{tmp_path}/shop.db")
    app.task(name="charge")(lambda order_id: None)
    app.store.setup()
    yield app
    app.close()


@pytest.fixture
def charge(jobs):
    return jobs.tasks["charge"]


@pytest.fixture
def connection(tmp_path, jobs):
    opened = sqlite3.connect(tmp_path / "shop.db")
    opened.execute("CREATE TABLE orders (id)")
    opened.commit()
    yield opened
    opened.close()


@pytest.fixture
def engine(tmp_path, jobs):
    made = create_engine(f"sqlite:///{tmp_path}/shop.db")
    with made.begin() as opened:
        opened.execute(text("CREATE TABLE things (id)"))
    yield made
    made.dispose()


def ready(jobs) -> int:
    return sum(stats.ready for stats in jobs.store.count())


def test_the_job_exists_when_the_callers_transaction_commits(jobs, charge, connection):
    connection.execute("INSERT INTO orders VALUES (1)")
    with jobs.within(connection):
        job = charge.enqueue(1)
    assert ready(jobs) == 0
    connection.commit()
    assert ready(jobs) == 1
    assert job.refresh().state == "queued"


def test_the_job_is_gone_when_it_rolls_back(jobs, charge, connection):
    connection.execute("INSERT INTO orders VALUES (1)")
    with jobs.within(connection):
        charge.enqueue(1)
        charge.using(unique="once", delay=60).enqueue(2)
    connection.rollback()
    assert ready(jobs) == 0
    assert jobs.store.count() == []
    assert charge.using(unique="once").enqueue(2).enqueued, "the key went with it"


def test_it_may_be_the_first_statement_of_the_transaction(jobs, charge, connection):
    with jobs.within(connection):
        charge.enqueue(1)
    assert connection.in_transaction
    connection.rollback()
    assert ready(jobs) == 0


def test_using_within_is_the_same_for_one_call(jobs, charge, connection):
    charge.using(within=connection).enqueue(1)
    charge.enqueue(2) if not connection.in_transaction else None
    connection.commit()
    assert ready(jobs) == 1


def test_many_and_async_ones_join_too(jobs, charge, connection):
    async def some():
        await charge.aenqueue(1)
        await jobs.aenqueue_many(charge.prepare(n) for n in range(3))

    with jobs.within(connection):
        jobs.enqueue_many(charge.prepare(n) for n in range(5))
        asyncio.run(some())
    assert ready(jobs) == 0
    connection.commit()
    assert ready(jobs) == 9


def test_the_block_ends_with_the_block_and_is_of_this_thread_alone(jobs, charge, connection):
    with jobs.within(connection):
        pass
    thread = threading.Thread(target=charge.enqueue, args=(1,))
    with jobs.within(connection):
        thread.start()
        thread.join()
    charge.enqueue(2)
    assert ready(jobs) == 2
    assert not connection.in_transaction


def test_another_applications_jobs_stay_out(jobs, connection, tmp_path):
    other = Turnout(f"sqlite:///{tmp_path}/other.db")
    task = other.task(name="t")(lambda: None)
    with jobs.within(connection):
        task.enqueue()
    assert ready(other) == 1
    other.close()


@pytest.mark.parametrize("name", ["other.db", ":memory:"])
def test_a_connection_to_another_file_is_refused(jobs, charge, tmp_path, name):
    path = name if name == ":memory:" else tmp_path / name
    other = sqlite3.connect(path)
    with jobs.within(other), pytest.raises(WithinError) as error:
        charge.enqueue(1)
    assert "shop.db" in str(error.value)
    assert "after the commit" in str(error.value)
    assert ready(jobs) == 0
    other.close()


def test_an_autocommitting_connection_is_refused_outside_a_transaction(jobs, charge, tmp_path):
    plain = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
    with jobs.within(plain), pytest.raises(WithinError, match="BEGIN IMMEDIATE"):
        charge.enqueue(1)
    plain.execute("BEGIN IMMEDIATE")
    with jobs.within(plain):
        charge.enqueue(1)
    assert ready(jobs) == 0
    plain.execute("COMMIT")
    assert ready(jobs) == 1
    plain.close()


@pytest.mark.parametrize("what", [object(), "sqlite:///shop.db", 7])
def test_what_is_no_connection_is_refused(jobs, charge, what):
    with jobs.within(what), pytest.raises(WithinError) as error:
        charge.enqueue(1)
    assert type(what).__name__ in str(error.value)
    assert ready(jobs) == 0


def test_the_memory_store_refuses(connection):
    app = Turnout("memory:")
    task = app.task(name="t")(lambda: None)
    with app.within(connection), pytest.raises(WithinError):
        task.enqueue()
    assert app.store.count() == []


def test_a_locked_file_is_told_as_such_and_records_nothing(jobs, charge, tmp_path):
    holder = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    mine = sqlite3.connect(tmp_path / "shop.db", timeout=0.05)
    with jobs.within(mine), pytest.raises(WithinError, match="locked"):
        charge.enqueue(1)
    holder.execute("COMMIT")
    assert ready(jobs) == 0
    for one in (holder, mine):
        one.close()


# ---- SQLAlchemy


@pytest.mark.parametrize("kind", ["session", "connection", "scoped"])
@pytest.mark.parametrize("commits", [True, False])
def test_sqlalchemys_transactions(jobs, charge, engine, kind, commits):
    registry = scoped_session(sessionmaker(engine))
    made = {
        "session": lambda: Session(engine),
        "connection": engine.connect,
        "scoped": lambda: registry,
    }
    given = made[kind]()
    given.execute(text("INSERT INTO things VALUES (1)"))
    with jobs.within(given):
        job = charge.enqueue(1)
        jobs.enqueue_many(charge.prepare(n) for n in range(3))
    assert job.enqueued
    assert ready(jobs) == 0
    given.commit() if commits else given.rollback()
    assert ready(jobs) == 4 * commits
    (registry.remove if kind == "scoped" else given.close)()


def test_a_session_of_another_file_is_refused(jobs, charge, tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/other.db")
    with Session(engine) as session, jobs.within(session), pytest.raises(WithinError):
        charge.enqueue(1)
    engine.dispose()


def test_a_locked_file_is_told_as_such_by_sqlalchemy_too(jobs, charge, tmp_path):
    holder = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db", connect_args={"timeout": 0.05})
    with (
        Session(engine) as session,
        jobs.within(session),
        pytest.raises(WithinError, match="locked"),
    ):
        charge.enqueue(1)
    holder.execute("COMMIT")
    holder.close()
    engine.dispose()


def test_what_is_awaited_is_refused(jobs, charge, tmp_path):
    async def shop():
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db")
        async with AsyncSession(engine) as session, jobs.within(session):
            with pytest.raises(WithinError, match=r"sqlalchemy.*after the commit"):
                await charge.aenqueue(1)
            with pytest.raises(WithinError, match=r"sqlalchemy.*after the commit"):
                charge.enqueue(1)
            with pytest.raises(WithinError, match=r"aiosqlite.*after the commit"):
                await session.run_sync(lambda plain: charge.using(within=plain).enqueue(1))
        await engine.dispose()
        async with aiosqlite.connect(tmp_path / "shop.db") as raw, jobs.within(raw):
            with pytest.raises(WithinError, match="aiosqlite"):
                await charge.aenqueue(1)

    asyncio.run(shop())
    assert ready(jobs) == 0


def test_async_with_is_the_same_block(jobs, charge, connection):
    async def shop():
        async with jobs.within(connection):
            charge.enqueue(1)
            await charge.aenqueue(2)

    asyncio.run(shop())
    assert ready(jobs) == 0
    connection.commit()
    assert ready(jobs) == 2


def test_blocks_nest_and_may_be_entered_again(jobs, charge, connection, tmp_path):
    block = jobs.within(connection)
    with block, block:
        charge.enqueue(1)
    with block:
        charge.enqueue(2)
    assert ready(jobs) == 0, "both wait for the commit"
    connection.commit()
    charge.enqueue(3)
    assert ready(jobs) == 3


def worker() -> WorkerInfo:
    return WorkerInfo(
        epoch="e", name="n", host="h", pid=1, queues=("*",), concurrency=1, started_at=0.0
    )


@pytest.mark.parametrize("scoped", [False, True])
def test_a_sessions_commit_wakes_a_sleeping_worker(jobs, charge, engine, scoped, monkeypatch):
    rings: list[list[int]] = []
    monkeypatch.setattr("turnout.store.sqlite.store.ring", lambda ports, _: rings.append([*ports]))
    jobs.store.heartbeat(worker(), ttl=60)
    session = scoped_session(sessionmaker(engine)) if scoped else Session(engine)
    with jobs.within(session):
        charge.enqueue(1)
    assert rings == []
    session.commit()
    assert [len(ports) for ports in rings] == [1]
    session.close()


def test_a_rolled_back_enqueue_rings_nobody_later(jobs, charge, engine, monkeypatch):
    rings: list[int] = []
    monkeypatch.setattr("turnout.store.sqlite.store.ring", lambda ports, _: rings.append(1))
    session = Session(engine)
    for _ in range(3):
        with jobs.within(session):
            charge.enqueue(1)
        session.rollback()
    session.execute(text("INSERT INTO things VALUES (2)"))
    session.commit()
    assert rings == []
    session.close()


@pytest.mark.parametrize("scoped", [False, True])
def test_hooks_do_not_gather_on_a_long_lived_session(jobs, charge, engine, scoped):
    maker = sessionmaker(engine)
    session = scoped_session(maker) if scoped else Session(engine)
    for n in range(50):
        with jobs.within(session):
            charge.enqueue(n)
        session.commit()
    real = session() if scoped else session
    assert len(list(real.dispatch.after_commit)) <= 2
    assert event  # the hook is SQLAlchemy's own
    session.close()
