"""Enqueue in a caller's transaction that is awaited, with every driver that the adapter knows."""

from __future__ import annotations

import asyncio

import asyncpg
import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool

from conformance.builders import worker
from postgres.callers import ASYNC
from process.rig import wait_until
from support import postgres
from turnout import Turnout, WithinError

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture
def jobs(store):
    app = Turnout(f"{postgres.base_url()}?schema={store.schema}")
    app.task(name="charge")(lambda order_id: None)
    yield app
    app.close()


@pytest.fixture
def charge(jobs):
    return jobs.tasks["charge"]


@pytest.fixture(params=ASYNC)
def caller(request):
    """Opens a caller's transaction."""
    return lambda: ASYNC[request.param](postgres.base_url())


def ready(jobs) -> int:
    return sum(stats.ready for stats in jobs.store.count())


def test_the_jobs_exist_when_the_callers_transaction_commits(jobs, charge, caller):
    async def shop():
        async with caller() as mine:
            async with jobs.within(mine.given):
                job = await charge.aenqueue(1)
                await jobs.aenqueue_many(charge.prepare(n) for n in range(3))
            await charge.using(within=mine.given, delay=60).aenqueue(2)
            assert ready(jobs) == 0
            await mine.commit()
        return await job.arefresh()

    assert asyncio.run(shop()).state == "queued"
    assert [(stats.ready, stats.scheduled) for stats in jobs.store.count()] == [(4, 1)]


def test_the_jobs_are_gone_when_it_rolls_back(jobs, charge, caller):
    async def shop():
        async with caller() as mine, jobs.within(mine.given):
            await charge.using(unique="once").aenqueue(1)
            await mine.rollback()

    asyncio.run(shop())
    assert jobs.store.count() == []
    assert charge.using(unique="once").enqueue(2).enqueued, "the key went with it"


def test_a_savepoint_of_the_caller_takes_its_jobs_back_alone(jobs, charge, caller):
    async def shop():
        async with caller() as mine, jobs.within(mine.given):
            kept = await charge.aenqueue(1)
            await mine.rows("SAVEPOINT mine")
            undone = await charge.aenqueue(2)
            await mine.rows("ROLLBACK TO SAVEPOINT mine")
            await mine.commit()
        assert (await kept.arefresh()).state == "queued"
        return jobs.job(undone.id)

    asyncio.run(shop())
    assert ready(jobs) == 1


def test_a_failed_enqueue_undoes_itself_and_nothing_of_the_callers(jobs, charge, caller):
    async def shop(holder):
        async with caller() as mine, jobs.within(mine.given):
            await mine.rows("CREATE TEMPORARY TABLE mine (n integer)")
            await mine.rows("INSERT INTO mine VALUES (1)")
            charge.using(unique="once", within=holder).enqueue(1)
            await mine.rows("SET LOCAL lock_timeout = '50ms'")
            with pytest.raises(WithinError, match="lock timeout"):
                await charge.using(unique="once").aenqueue(2)
            holder.rollback()
            assert await mine.rows("SELECT n FROM mine") == [(1,)]
            assert (await charge.using(unique="once").aenqueue(3)).enqueued
            await mine.commit()

    with psycopg.connect(postgres.base_url()) as holder:
        asyncio.run(shop(holder))
    assert ready(jobs) == 1


def test_a_cancelled_enqueue_leaves_the_transaction_usable(jobs, charge, caller):
    async def shop(holder):
        async with caller() as mine, jobs.within(mine.given):
            assert await mine.rows("SELECT 1") == [(1,)]
            charge.using(unique="once", within=holder).enqueue(1)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await charge.using(unique="once").aenqueue(2)
            holder.rollback()
            if hasattr(mine.given, "invalidate") or hasattr(mine.given, "registry"):
                await mine.rollback()  # SQLAlchemy gives up a connection of which it was cancelled
            assert await mine.rows("SELECT 2") == [(2,)]
            assert (await charge.using(unique="once").aenqueue(3)).enqueued
            await mine.commit()

    with psycopg.connect(postgres.base_url()) as holder:
        asyncio.run(shop(holder))
    assert ready(jobs) == 1


@pytest.mark.parametrize("kind", [kind for kind in ASYNC if not kind.startswith("scoped")])
def test_gathered_enqueues_take_turns(jobs, charge, kind):
    async def shop():  # a scoped session is another one in each task: that is what it is for
        async with ASYNC[kind](postgres.base_url()) as mine, jobs.within(mine.given):
            await asyncio.gather(*(charge.aenqueue(n) for n in range(10)))
            await mine.commit()

    asyncio.run(shop())
    assert ready(jobs) == 10


def test_the_commit_wakes_a_sleeping_worker(jobs, charge, caller, monkeypatch):
    monkeypatch.setattr("turnout.store.postgres.store.POLL", 30.0)
    sleeper = worker("e1")
    jobs.store.heartbeat(sleeper, ttl=60)

    async def shop():
        waiting = asyncio.create_task(asyncio.to_thread(jobs.store.wait, sleeper, 20.0))
        await asyncio.to_thread(wait_until, lambda: is_asleep(jobs), "the worker sleeps")
        async with caller() as mine, jobs.within(mine.given):
            await charge.aenqueue(1)
            await mine.commit()
        async with asyncio.timeout(10):
            return await waiting

    assert asyncio.run(shop())


def is_asleep(jobs) -> bool:
    schema = jobs.store.schema
    with psycopg.connect(postgres.base_url()) as look:
        listening = look.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE %s", (f"LISTEN%{schema}%",)
        ).fetchone()
        asleep = look.execute(f"SELECT count(*) FROM {schema}.worker WHERE asleep").fetchone()
    return (listening, asleep) == ((1,), (1,))


# ---- what is refused


def test_a_plain_enqueue_with_an_awaited_connection_says_what_to_write(jobs, charge, caller):
    async def shop():
        async with caller() as mine, jobs.within(mine.given):
            with pytest.raises(WithinError, match=r"await task\.aenqueue"):
                charge.enqueue(1)
            with pytest.raises(WithinError, match="aenqueue_many"):
                jobs.enqueue_many(charge.prepare(n) for n in range(3))

    asyncio.run(shop())
    assert ready(jobs) == 0


def test_a_transaction_that_failed_before_is_told_as_such(jobs, charge, caller):
    async def shop():
        async with caller() as mine, jobs.within(mine.given):
            with pytest.raises(Exception, match="division"):
                await mine.rows("SELECT 1/0")
            with pytest.raises(WithinError, match=r"has failed before|rolled back"):
                await charge.aenqueue(1)

    asyncio.run(shop())
    assert ready(jobs) == 0


def connections(**options):
    """Ways to open one of each kind, without a transaction."""
    url = postgres.base_url()
    elsewhere = options.get("url", url)

    async def alchemy(driver):
        address = elsewhere.replace("postgresql:", f"postgresql+{driver}:")
        engine = create_async_engine(address, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        return AsyncSession(engine)

    return {
        "psycopg": lambda: psycopg.AsyncConnection.connect(elsewhere, autocommit=True),
        "asyncpg": lambda: asyncpg.connect(elsewhere),
        "session on psycopg": lambda: alchemy("psycopg"),
        "session on asyncpg": lambda: alchemy("asyncpg"),
    }


KINDS = ["psycopg", "asyncpg", "session on psycopg", "session on asyncpg"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_without_a_transaction_is_refused(jobs, charge, kind):
    async def shop():
        given = await connections()[kind]()
        async with jobs.within(given):
            with pytest.raises(WithinError, match="autocommit"):
                await charge.aenqueue(1)
        await given.close()

    asyncio.run(shop())
    assert ready(jobs) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_another_database_is_refused(jobs, charge, kind):
    elsewhere = postgres.base_url().rpartition("/")[0] + "/template1"

    async def shop():
        given = await connections(url=elsewhere)[kind]()
        async with jobs.within(given):
            with pytest.raises(WithinError, match="one transaction cannot span two"):
                await charge.aenqueue(1)
        await given.close()

    asyncio.run(shop())


@pytest.mark.parametrize("kind", ["psycopg", "asyncpg"])
def test_a_closed_connection_is_refused(jobs, charge, kind):
    async def shop():
        given = await connections()[kind]()
        await given.close()
        async with jobs.within(given):
            with pytest.raises(WithinError, match="closed"):
                await charge.aenqueue(1)

    asyncio.run(shop())
    assert ready(jobs) == 0


@pytest.mark.parametrize("given", [object(), "postgresql://here", 7])
def test_what_is_no_connection_is_refused(jobs, charge, given):
    async def shop():
        async with jobs.within(given):
            await charge.aenqueue(1)

    with pytest.raises(WithinError, match=type(given).__name__):
        asyncio.run(shop())


def test_a_plain_connection_serves_in_a_coroutine_too(jobs, charge):
    async def shop(connection):
        with jobs.within(connection):
            await charge.aenqueue(1)
            await jobs.aenqueue_many(charge.prepare(n) for n in range(3))
        async with jobs.within(connection):
            charge.enqueue(2)
        assert ready(jobs) == 0
        connection.commit()

    with psycopg.connect(postgres.base_url()) as connection:
        asyncio.run(shop(connection))
    assert ready(jobs) == 5


def test_rows_and_codecs_of_the_callers_own_do_not_disturb(jobs, charge):
    async def shop():
        connection = await asyncpg.connect(postgres.base_url())
        await connection.set_type_codec(
            "uuid", encoder=str, decoder=str, schema="pg_catalog", format="text"
        )
        async with connection.transaction(), jobs.within(connection):
            assert (await charge.using(unique="once").aenqueue(1)).enqueued
            assert not (await charge.using(unique="once").aenqueue(1)).enqueued
        await connection.close()
        named = await psycopg.AsyncConnection.connect(
            postgres.base_url(), row_factory=psycopg.rows.dict_row
        )
        async with named, jobs.within(named):
            assert not (await charge.using(unique="once").aenqueue(1)).enqueued

    asyncio.run(shop())
    assert ready(jobs) == 1
