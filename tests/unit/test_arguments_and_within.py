"""What a running job and its `then=` see of the arguments; what `within` refuses at once."""

from __future__ import annotations

import sqlite3

import pytest

from turnout import Turnout, current_job, discard_on
from turnout.errors import ConfigError, WithinError
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


def test_the_first_within_of_a_file_sets_it_up_before_the_caller_writes(tmp_path):
    app = Turnout(f"sqlite:///{tmp_path}/app.db")

    @app.task
    def pay(order: int) -> None: ...

    connection = sqlite3.connect(tmp_path / "app.db")
    connection.execute("CREATE TABLE paid (id INTEGER)")
    with connection, app.within(connection):
        connection.execute("INSERT INTO paid VALUES (1)")
        job = pay.enqueue(1)
    assert job.refresh().state == "queued"
    connection.close()
    app.close()


def test_within_needs_a_connection():
    with pytest.raises(WithinError, match="got None"):
        Turnout("memory:").within(None)


def test_a_prepared_job_refuses_a_transaction_that_it_would_lose():
    app = Turnout("memory:")

    @app.task
    def pay(order: int) -> None: ...

    with pytest.raises(ConfigError, match="does not travel"):
        pay.using(within=object()).prepare(1)
