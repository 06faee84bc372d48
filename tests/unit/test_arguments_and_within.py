"""What a running job and its `then=` see of the arguments; what `within` refuses at once."""

from __future__ import annotations

import sqlite3

import pytest

from turnout import Turnout, current_job, discard_on
from turnout.cli.output import clock
from turnout.errors import ConfigError, EnqueueError, JobNotFound, WithinError
from turnout.job import JobFilter
from turnout.store import open_store
from unit.harness import Bench


def test_a_job_and_its_then_see_the_arguments(tmp_path):
    bench = Bench(Turnout(f"sqlite:///{tmp_path}/jobs.db"))
    seen = []

    @bench.app.task(
        on_error=[discard_on(ValueError, then=lambda job, _: seen.append(job.arguments))]
    )
    def pay(order: int, *, when: str) -> None:
        seen.append(current_job().arguments)
        raise ValueError

    pay.enqueue(7, when="soon")
    bench.drain()
    assert seen == [((7,), {"when": "soon"})] * 2
    bench.app.close()


@pytest.fixture
def shop(tmp_path):
    app = Turnout(f"sqlite:///{tmp_path}/app.db")

    @app.task
    def pay(order: int) -> None: ...

    connection = sqlite3.connect(tmp_path / "app.db")
    connection.execute("CREATE TABLE paid (id INTEGER)")
    yield app, pay, connection
    connection.close()
    app.close()


def test_a_file_without_our_tables_gets_them_in_the_callers_transaction(shop):
    app, pay, connection = shop
    with connection:
        connection.execute("INSERT INTO paid VALUES (1)")
        with app.within(connection):
            job = pay.enqueue(1)
            pay.enqueue(2)
    assert job.refresh().state == "queued"


def test_a_rollback_takes_the_tables_back_and_the_next_caller_makes_them(shop):
    app, pay, connection = shop
    for end in connection.rollback, connection.commit:
        connection.execute("INSERT INTO paid VALUES (1)")
        with app.within(connection):
            job = pay.enqueue(1)
        end()
    assert job.refresh().state == "queued"
    assert len(app.store.find(JobFilter())) == 1


def test_blocks_of_two_applications_nest(shop, tmp_path):
    app, pay, connection = shop
    other = Turnout("memory:")
    with app.within(connection), other.within(object()):
        job = pay.enqueue(1)
    connection.rollback()
    with pytest.raises(JobNotFound):
        job.refresh()


def test_within_needs_a_connection():
    with pytest.raises(WithinError, match="got None"):
        Turnout("memory:").within(None)


def test_a_prepared_job_refuses_a_transaction_that_it_would_lose():
    app = Turnout("memory:")

    @app.task
    def pay(order: int) -> None: ...

    with pytest.raises(ConfigError, match="does not travel"):
        pay.using(within=object()).prepare(1)


def test_what_would_never_run_is_refused_where_it_is_written():
    app = Turnout("memory:")

    async def later(job, error) -> None: ...

    def lazy():
        yield 1

    async def lazier():
        yield 1

    with pytest.raises(ConfigError, match="got an async one"):
        discard_on(ValueError, then=later)
    for generator in lazy, lazier:
        with pytest.raises(ConfigError, match="is a generator"):
            app.task(generator)


def test_a_file_is_not_named_memory():
    with pytest.raises(ConfigError, match="memory: here"):
        open_store("sqlite:///:memory:")


def test_a_layer_that_returns_something_else_than_a_job_is_told():
    app = Turnout("memory:")
    app.around_enqueue(lambda job, proceed: "yes")

    @app.task
    def pay(order: int) -> None: ...

    with pytest.raises(EnqueueError, match="returns proceed"):
        pay.enqueue(1)


def test_a_date_beyond_the_calendar_is_shown_as_seconds():
    assert clock(1e15) == "1000000000000000 s since the epoch"
