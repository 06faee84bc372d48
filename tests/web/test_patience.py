"""A store that takes too long: a plain page says so, and the server has stopped working on it."""

from __future__ import annotations

from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from support import postgres
from support.mysql import MARIADB
from turnout.errors import StoreSlow
from turnout.job import State
from turnout.store import patience
from web.conftest import Browser, Shop, dashboard

GETS = ("/", "/queues", "/jobs?q=state:dead", "/jobs?q=task:shop.mail", "/dead", "/workers")


def parameter(url: str, name: str) -> str:
    return url.split(f"{name}=")[1].split("&", maxsplit=1)[0]


@contextmanager
def postgres_locked(url):
    with psycopg.connect(postgres.base_url()) as holder:
        schema = parameter(url, "schema")
        query = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s"
        for (name,) in holder.execute(query, [schema]).fetchall():
            held = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE")
            holder.execute(held.format(sql.Identifier(schema, name)))
        yield
        holder.rollback()


@contextmanager
def mariadb_locked(url):
    holder = MARIADB.connect()
    with holder.cursor() as cursor:
        cursor.execute("SHOW TABLES LIKE %s", [parameter(url, "prefix") + "%"])
        names = ", ".join(f"`{row[0]}` WRITE" for row in cursor.fetchall())
        cursor.execute(f"LOCK TABLES {names}")
        yield
    holder.close()


@pytest.fixture(params=["postgresql", "mariadb"])
def locked_shop(request):
    """A shop on a server, and what locks its tables as a migration would."""
    if request.param == "postgresql":
        url, lock = postgres.fresh_url(), postgres_locked
    else:
        url, lock = MARIADB.fresh_url(), mariadb_locked
    shop = Shop(url)
    yield shop, lambda: lock(url)
    shop.app.close()


def test_a_page_says_so_instead_of_hanging(locked_shop, monkeypatch):
    shop, locked = locked_shop
    app = dashboard(shop.app, authorize=lambda _request: "admin")
    browser = Browser(app)
    job_id = shop.dead()
    monkeypatch.setattr("turnout.web.pulse.FRESH", 0.0)
    with locked():
        monkeypatch.setattr(patience, "PATIENCE", 0.2)
        for path in GETS:
            assert "No answer in time" in browser.get(path, code=503), path
        answer = browser.json("/jobs.json?q=state:dead", code=503)
        assert "Ask for less" in answer["detail"]
        assert "turnout_up 0" in browser.get("/metrics")
        text = browser.client.post(
            f"/jobs/{job_id}/act", data={"action": "retry"}, headers={"turnout-client": "t"}
        ).text
        assert "look before you repeat it" in text
    monkeypatch.setattr(patience, "PATIENCE", 60.0)
    for path in GETS:
        browser.get(path)
    assert shop.state(job_id) is State.DEAD
    app.state.desk.pulse.close()


def test_who_waits_for_another_s_look_is_told_too(shop, admin, monkeypatch):
    monkeypatch.setattr(patience, "PATIENCE", 0.05)
    with admin.client.app.state.desk.pulse._looking:
        assert "No answer in time" in admin.get("/queues", code=503)
    monkeypatch.setattr(patience, "PATIENCE", 60.0)
    admin.get("/queues")


def test_the_advice_fits_the_method(admin, shop, monkeypatch):
    def slow(*_args, **_more):
        raise StoreSlow("the store took longer than 8 s")

    job_id = shop.dead()
    monkeypatch.setattr(shop.store, "change", slow)
    form = {"action": "retry", "token": admin.token()}
    assert "look before you repeat it" in admin.post(f"/jobs/{job_id}/act", 503, **form).text
    monkeypatch.setattr(shop.store, "find", slow)
    assert "Ask for less" in admin.get(f"/jobs/{job_id}", code=503)
