from __future__ import annotations

import json
import os
import smtplib
import sqlite3
import subprocess
import sys
from contextlib import closing
from email.message import EmailMessage
from pathlib import Path

import httpx
import pytest

from turnout import ArgumentError, Turnout
from turnout.job import JobFilter

ROOT = Path(__file__).resolve().parents[2]
ADDRESSES = ("PAYMENT", "MAILING_LIST", "CHAT", "ANALYTICS", "CONTROL")


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("TURNOUT_SECRET", "s" * 32)


@pytest.fixture(scope="module")
def services():
    """The third parties, as the demo runs them; yields where they listen."""
    command = [sys.executable, "-m", "examples.orders.services"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        yield json.loads(child.stdout.readline())
        child.terminate()


@pytest.fixture
def remote(services):
    with httpx.Client(base_url=services["CONTROL_URL"], timeout=5) as client:
        yield client


def charge(services, key, **order):
    body = {"card": "card-1", "cents": 100} | order
    url = services["PAYMENT_URL"] + "/charges"
    return httpx.post(url, json=body, headers={"Idempotency-Key": key}, timeout=5)


def send(services, subject):
    host, port = services["SMTP_ADDRESS"].split(":")
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "a@example.org", "b@example.org", subject
    mail["Message-ID"] = "<1@example.org>"
    mail.set_content(".leading dot\n")
    with smtplib.SMTP(host, int(port), local_hostname="test", timeout=5) as server:
        server.send_message(mail)


def test_the_same_key_never_charges_twice(services, remote):
    first, again = charge(services, "twice"), charge(services, "twice")
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    charges = remote.get("/ledger/payment").json()["ledger"]
    assert [c["asked"] for c in charges if c["key"] == "twice"] == [2]


def test_a_declined_card_is_not_charged(services, remote):
    assert charge(services, "declined", card="card_declined").status_code == 402
    charges = remote.get("/ledger/payment").json()["ledger"]
    assert "declined" not in {c["key"] for c in charges}


def test_trouble_lasts_as_long_as_told(services, remote):
    remote.post("/control/chat", json={"mode": "rate_limit", "retry_after": 2, "times": 1})
    url = services["CHAT_URL"] + "/messages"
    refused = httpx.post(url, json={"text": "hello"})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
    assert httpx.post(url, json={"text": "hello"}).status_code == 201


def test_the_mail_server_takes_every_mail_and_dedupes_none(services, remote):
    send(services, "dear customer")
    send(services, "dear customer")
    mails = remote.get("/ledger/smtp").json()["ledger"]
    assert [mail["subject"] for mail in mails] == ["dear customer"] * 2


def test_a_failing_mail_server_accepts_nothing(services, remote):
    before = remote.get("/ledger/smtp").json()["ledger"]
    remote.post("/control/smtp", json={"mode": "fail", "times": 1})
    with pytest.raises(smtplib.SMTPException):
        send(services, "refused")
    assert remote.get("/ledger/smtp").json()["ledger"] == before


@pytest.fixture
def shop(tmp_path, monkeypatch, example):
    """The shop's code on a database of its own."""
    from examples.orders import database, jobs, shop

    path = str(tmp_path / "shop.db")
    monkeypatch.setattr(database, "PATH", path)
    fresh = Turnout(f"sqlite:///{path}")
    for task in jobs.jobs.tasks.values():
        monkeypatch.setattr(task, "app", fresh)
    monkeypatch.setattr(shop, "jobs", fresh)
    database.create_tables()
    fresh.store.setup()
    yield shop
    fresh.close()


def test_an_order_and_its_five_jobs_are_one_transaction(shop):
    order_id = shop.place("a@example.org", "card-1", 100)["order"]
    jobs = shop.jobs.store.find(JobFilter())
    assert sorted(job.task.rpartition(".")[2] for job in jobs) == [
        "charge",
        "send_confirmation",
        "subscribe",
        "tell_chat",
        "track",
    ]
    assert {json.loads(job.args)["order_id"] for job in jobs} == {order_id}


def test_an_order_that_fails_half_way_leaves_neither_order_nor_jobs(shop, monkeypatch):
    def broken(order_id):
        raise ArgumentError("no")

    monkeypatch.setattr(shop.track, "enqueue", broken)
    with pytest.raises(ArgumentError):
        shop.place("a@example.org", "card-1", 100)
    with closing(sqlite3.connect(shop.database.PATH)) as db:
        assert db.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    assert shop.jobs.store.find(JobFilter()) == []


@pytest.fixture
def stage(example, tmp_path):
    """Third parties, web server and worker, as processes."""
    from examples.orders.processes import Stage

    with Stage(tmp_path) as stage:
        stage.start_services()
        stage.start_web()
        stage.start_worker(5)
        yield stage


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize(
    ("card", "last", "state"),
    [("card-1", "succeeded", "paid"), ("card_declined", "discarded", "declined")],
)
def test_a_buyer_hears_of_the_payment_on_one_stream(stage, card, last, state):
    from examples.orders import database
    from examples.orders.buyer import buy

    seen = buy(stage.web, {"email": "a@example.org", "card": card, "cents": 100})
    assert (seen.status, seen.ended, seen.states[-1]) == (201, True, last)
    [order] = database.all_orders(str(stage.database))
    assert (order.id, order.state) == (seen.order, state)


def test_percentiles_and_rates_of_a_visit(example):
    from examples.orders.customers import Visit

    visit = Visit([201] * 100, [n / 1000 for n in range(1, 101)], 5.0)
    assert visit.percentile(0.5) == pytest.approx(50)
    assert visit.percentile(0.95) == pytest.approx(95)
    assert visit.per_second == 20


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.timeout(130)
def test_the_demo_keeps_every_claim(tmp_path):
    figures = tmp_path / "figures.json"
    size = ["--inline", "8", "--orders", "40"]
    command = [sys.executable, "-m", "examples.orders.demo", *size, "--json", str(figures)]
    env = dict(os.environ, TMPDIR=str(tmp_path))
    run = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=125, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    told = json.loads(figures.read_text())
    assert all(claim["holds"] for claim in told["claims"])
    assert len(told["claims"]) == run.stdout.count("  ok  ")
    assert list(tmp_path.iterdir()) == [figures]
