"""Django's connection on PostgreSQL: `transaction.atomic()` decides about the jobs too."""

from __future__ import annotations

from urllib.parse import urlsplit

import django
import psycopg
import pytest
from django.conf import settings
from django.db import connection, connections, transaction

from support import postgres
from turnout import Turnout, WithinError


class Undo(Exception):
    """Ends an atomic block with a rollback."""


@pytest.fixture(scope="module", autouse=True)
def project():
    """A Django project of one database, configured once a process."""
    with psycopg.connect(postgres.base_url()) as look:
        if look.info.server_version < 140_000 and django.VERSION >= (5, 2):
            pytest.skip("Django 5.2 needs PostgreSQL 14")
    parts = urlsplit(postgres.base_url())
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": parts.username,
        "PASSWORD": parts.password or "",
        "HOST": parts.hostname,
        "PORT": parts.port,
    }
    if not settings.configured:
        settings.configure(DATABASES={"default": database}, USE_TZ=True)
        django.setup()
    connections.databases["default"].update(database)
    yield
    connections.close_all()


@pytest.fixture
def jobs(store):
    app = Turnout(f"{postgres.base_url()}?schema={store.schema}")
    app.task(name="charge")(lambda order_id: None)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS django_order (id integer)")
        cursor.execute("DELETE FROM django_order")
    yield app
    app.close()


@pytest.fixture
def charge(jobs):
    return jobs.tasks["charge"]


@pytest.fixture(params=["connection", "connections"])
def given(request):
    """Both ways to name it in Django."""
    return connection if request.param == "connection" else connections["default"]


def order(n: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO django_order VALUES (%s)", [n])


def orders() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM django_order ORDER BY id")
        return [row[0] for row in cursor.fetchall()]


def ready(jobs) -> int:
    return sum(stats.ready for stats in jobs.store.count())


def test_a_job_exists_when_the_atomic_block_commits(jobs, charge, given):
    with transaction.atomic(), jobs.within(given):
        order(1)
        job = charge.enqueue(1)
        assert ready(jobs) == 0
    assert (orders(), ready(jobs)) == ([1], 1)
    assert job.refresh().state == "queued"


def test_it_is_gone_with_the_block(jobs, charge, given):
    with pytest.raises(Undo), transaction.atomic(), jobs.within(given):
        order(1)
        charge.using(unique="once").enqueue(1)
        raise Undo
    assert (orders(), ready(jobs)) == ([], 0)
    assert charge.using(unique="once").enqueue(2).enqueued, "the key went with it"


def test_an_inner_block_takes_its_own_jobs_back(jobs, charge, given):
    with transaction.atomic(), jobs.within(given):
        order(1)
        charge.enqueue(1)
        with pytest.raises(Undo), transaction.atomic():
            order(2)
            charge.enqueue(2)
            raise Undo
        with transaction.atomic():
            order(3)
            charge.enqueue(3)
    assert (orders(), ready(jobs)) == ([1, 3], 2)


def test_a_refused_enqueue_leaves_the_block_usable(jobs, charge, given):
    with transaction.atomic(), jobs.within(given):
        order(1)
        assert charge.using(unique="once").enqueue(1).enqueued
        assert not charge.using(unique="once").enqueue(2).enqueued
        order(2)
    assert (orders(), ready(jobs)) == ([1, 2], 1)


def test_outside_of_atomic_it_is_refused_with_the_way_to_go(jobs, charge, given):
    with jobs.within(given), pytest.raises(WithinError, match=r"transaction\.atomic\(\)"):
        charge.enqueue(1)
    order(1)
    assert (orders(), ready(jobs)) == ([1], 0)


def test_a_connection_that_was_not_opened_yet_opens(jobs, charge, given):
    connections.close_all()
    with jobs.within(given), pytest.raises(WithinError, match=r"transaction\.atomic\(\)"):
        charge.enqueue(1)
    connections.close_all()
    with transaction.atomic(), jobs.within(given):
        charge.enqueue(1)
    assert ready(jobs) == 1
