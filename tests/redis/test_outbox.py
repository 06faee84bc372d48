"""`outbox=`: an enqueue for Redis that is part of the application's own SQL transaction."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

import turnout
from process.rig import wait_until
from support import postgres, valkey
from turnout import ConfigError, Turnout, WithinError
from turnout.errors import StoreUnavailable
from turnout.events import JobRefused
from turnout.job import JobFilter, State
from turnout.outbox import QUEUE
from turnout.worker.relay import Relay

SOURCE = Path(turnout.__file__).parents[1]


def charge(order_id: int) -> None:
    del order_id


def make_app(url: str, outbox: str | None, **settings) -> Turnout:
    app = Turnout(url, outbox=outbox, **settings)
    app.task(name="charge")(charge)
    return app


@pytest.fixture(params=["sqlite", "postgresql"])
def outbox(request, tmp_path) -> str:
    """The URL of the application's database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shop.db"
    return postgres.fresh_url()


@pytest.fixture
def made():
    """Makes applications, closed at the end, after their relays."""
    apps = []

    def make(url, outbox):
        apps.append(make_app(url, outbox))
        if outbox is not None:
            apps[-1].outbox.setup()
        return apps[-1]

    yield make
    for one in apps:
        one.close()


@pytest.fixture
def app(made, url, outbox):
    return made(url, outbox)


@pytest.fixture
def relay(made):
    """Starts relays, and ends them."""
    relays = []

    def start(application):
        relays.append(Relay(application))
        relays[-1].start()
        return relays[-1]

    yield start
    for one in relays:
        one.stop()


def connect(outbox: str):
    """A connection of the application's own."""
    if outbox.startswith("sqlite"):
        return sqlite3.connect(outbox.removeprefix("sqlite:///"))
    return psycopg.connect(outbox.partition("?")[0])


@contextmanager
def transaction(outbox: str):
    """A connection of the application's own, committed at the end of the block."""
    with closing(connect(outbox)) as connection:
        yield connection
        connection.commit()


def orders(app) -> list[int]:
    """The numbers of the orders in the store where jobs are run."""
    found = app.store.find(JobFilter(task="charge"), limit=10_000)
    return sorted(json.loads(record.args)["order_id"] for record in found)


def waiting(app) -> int:
    """How many jobs are in the outbox, in whatever state."""
    return len(app.outbox.find(JobFilter(queue=QUEUE), limit=10_000))


def test_a_committed_enqueue_is_moved_and_a_rolled_back_one_never_was(app, outbox, relay):
    charge_task = app.tasks["charge"]
    with transaction(outbox) as connection, app.within(connection):
        committed = charge_task.enqueue(1)
    connection = connect(outbox)
    with app.within(connection):
        charge_task.enqueue(2)
    connection.rollback()
    connection.close()
    assert orders(app) == []
    relay(app)
    wait_until(lambda: orders(app) == [1], "the relay moved it")
    wait_until(lambda: waiting(app) == 0, "nothing is left in the outbox")
    assert committed.refresh().id == committed.id


def test_a_running_relay_moves_what_commits_without_being_asked(app, outbox, relay):
    relay(app)
    for n in range(1, 6):
        with transaction(outbox) as connection, app.within(connection):
            app.tasks["charge"].enqueue(n)
        wait_until(lambda n=n: n in orders(app), "moved")
    assert orders(app) == [1, 2, 3, 4, 5]


def test_every_option_arrives(app, outbox, relay):
    with transaction(outbox) as connection:
        bound = app.tasks["charge"].using(
            delay=3_600, priority=7, queue="low", unique="order-1", within=connection
        )
        job = bound.enqueue(1)
    relay(app)
    wait_until(lambda: orders(app) == [1], "moved")
    record = job.refresh()
    assert (record.queue, record.priority, record.state) == ("low", 7, State.QUEUED)
    assert record.run_at - record.enqueued_at == pytest.approx(3_600, abs=60)
    assert app.tasks["charge"].using(unique="order-1").enqueue(2).enqueued is False


def test_a_key_that_is_held_where_the_job_goes_is_told(app, outbox, relay):
    refused = []
    app.on(JobRefused)(refused.append)
    app.tasks["charge"].using(unique="order-1").enqueue(1)
    with transaction(outbox) as connection, app.within(connection):
        second = app.tasks["charge"].using(unique="order-1").enqueue(2)
    relay(app)
    wait_until(lambda: refused, "it is told")
    wait_until(lambda: waiting(app) == 0, "it has left the outbox")
    assert refused[0].id == second.id
    assert orders(app) == [1]


def test_bulk_goes_through_the_outbox_too(app, outbox, relay):
    task = app.tasks["charge"]
    with transaction(outbox) as connection, app.within(connection):
        app.enqueue_many(task.prepare(n) for n in range(2_500))
    relay(app)
    wait_until(lambda: waiting(app) == 0 and len(orders(app)) == 2_500, "all moved", timeout=60)


def test_without_a_transaction_the_store_itself_is_used(app):
    app.tasks["charge"].enqueue(1)
    assert orders(app) == [1]
    assert waiting(app) == 0


def test_a_job_that_nobody_wrapped_stays_as_dead(app, made, relay):
    stray = made(app.config.outbox, None)
    stray.task(name="other", queue=QUEUE)(charge)
    job = stray.tasks["other"].enqueue(1)
    relay(app)
    wait_until(lambda: job.refresh().state is State.DEAD, "it is dead")
    assert "was not put there by an outbox" in job.refresh().attempts[-1].message


def test_sqlalchemy_sessions_carry_enqueues_for_redis(made, url, tmp_path, relay):
    app = made(url, f"sqlite:///{tmp_path}/shop.db")
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    with Session(engine) as session, session.begin(), app.within(session):
        session.execute(text("SELECT 1"))
        app.tasks["charge"].enqueue(1)
    relay(app)
    wait_until(lambda: orders(app) == [1], "moved")
    engine.dispose()


def test_asynchronous_sessions_too(made, url, relay):
    base = postgres.fresh_url()
    app = made(url, base)

    async def shop() -> None:
        where = base.partition("?")[0].replace("postgresql:", "postgresql+psycopg:")
        engine = create_async_engine(where)
        async with AsyncSession(engine) as session, session.begin(), app.within(session):
            await app.tasks["charge"].aenqueue(1)
        await engine.dispose()

    asyncio.run(shop())
    relay(app)
    wait_until(lambda: orders(app) == [1], "moved")


# ---- faults


def test_while_redis_is_away_jobs_stay_in_the_outbox(made, mortal, outbox, relay):
    server = mortal()
    app = made(server.url, outbox)
    server.kill()
    relay(app)
    with transaction(outbox) as connection, app.within(connection):
        app.tasks["charge"].enqueue(1)
    with pytest.raises(StoreUnavailable):
        app.tasks["charge"].enqueue(2)
    assert waiting(app) == 1
    server.start()
    wait_until(lambda: orders(app) == [1], "moved when it is back")


RELAY = """
import os, signal, sys, turnout
from turnout.worker.relay import Relay
jobs = turnout.Turnout(sys.argv[1], outbox=sys.argv[2])
settle, enqueue = jobs.outbox.exchange, jobs.store.enqueue
def killed_after(jobs_):
    ids = enqueue(jobs_)
    os.kill(os.getpid(), signal.SIGKILL)
jobs.store.enqueue = killed_after
Relay(jobs).run()
"""


def test_a_relay_that_dies_between_its_two_steps_makes_no_double(app, url, outbox, relay):
    with transaction(outbox) as connection, app.within(connection):
        for n in range(20):
            app.tasks["charge"].enqueue(n)
    died = subprocess.run(
        [sys.executable, "-c", RELAY, url, outbox],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        timeout=30,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    assert orders(app) == list(range(20))
    assert waiting(app) == 20
    relay(app)
    wait_until(lambda: waiting(app) == 0, "the next relay finishes", timeout=20)
    assert orders(app) == list(range(20))
    assert sum(stats.ready for stats in app.store.count()) == 20


def test_two_relays_share_the_work(app, outbox, relay):
    relay(app)
    relay(app)
    threads = [
        threading.Thread(target=enqueue_some, args=(app, outbox, first)) for first in (0, 100)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: waiting(app) == 0 and len(orders(app)) == 40, "all moved once", timeout=30)
    assert sum(stats.ready for stats in app.store.count()) == 40


def enqueue_some(app, outbox, first: int) -> None:
    for n in range(first, first + 20):
        with transaction(outbox) as connection, app.within(connection):
            app.tasks["charge"].enqueue(n)


# ---- where it runs


SHOP = """
from turnout import Turnout
jobs = Turnout({url!r}, outbox={outbox!r})
@jobs.task
def charge(order_id: int) -> None:
    open({done!r}, "a").write(f"{{order_id}}\\n")
"""


@pytest.fixture
def shop(url, outbox, tmp_path):
    """A module with tasks, and how to run a command on it until it has done something."""
    done = tmp_path / "done"
    (tmp_path / "shop.py").write_text(SHOP.format(url=url, outbox=outbox, done=str(done)))
    app = Turnout(url, outbox=outbox)
    app.outbox.setup()
    task = app.task(name="shop.charge")(charge)
    with transaction(outbox) as connection, app.within(connection):
        task.enqueue(7)

    def run(*words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "turnout", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{tmp_path}:{SOURCE}"},
        )

    yield app, run, done
    app.close()


def end(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    return process.wait(20)


def test_a_worker_moves_the_outbox_besides_its_jobs(shop):
    _app, run, done = shop
    worker = run("worker", "shop")
    try:
        wait_until(lambda: done.exists() and done.read_text() == "7\n", "moved and run", timeout=30)
    finally:
        assert end(worker) == 0


def test_the_command_moves_and_runs_nothing(shop):
    app, run, done = shop
    command = run("relay", "shop")
    try:
        wait_until(lambda: app.store.find(JobFilter(task="shop.charge")), "moved", timeout=30)
    finally:
        assert end(command) == 0
    assert not done.exists()
    assert app.outbox.workers() == []


# ---- bad input


@pytest.mark.parametrize(
    ("store", "outbox", "message"),
    [
        ("redis://127.0.0.1/0", "redis://127.0.0.1/1", "must be the URL of a SQL database"),
        ("redis://127.0.0.1/0", 7, "must be the URL of a SQL database"),
        ("sqlite:///a.db", "sqlite:///a.db", "works there without one"),
    ],
)
def test_wrong_outboxes_are_refused(store, outbox, message):
    with pytest.raises(ConfigError, match=message):
        Turnout(store, outbox=outbox)


def test_without_an_outbox_redis_refuses_and_names_it():
    app = make_app(valkey.fresh_url(), None)
    with (
        sqlite3.connect(":memory:") as connection,
        app.within(connection),
        pytest.raises(WithinError, match="outbox="),
    ):
        app.tasks["charge"].enqueue(1)
    with pytest.raises(ConfigError, match="no outbox"):
        _ = app.outbox
    app.close()
