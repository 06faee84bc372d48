"""What an end user sees of a job, over real HTTP and on every store."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import a2wsgi
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

import turnout
from conformance.stores import URLS
from process.rig import wait_until
from support import valkey
from turnout.errors import ConfigError
from turnout.ids import new_id
from turnout.job import Outcome, State
from turnout.tokens import Grant, sign
from turnout.web import status_app
from turnout.web.status import MOST_EACH
from web.conftest import Browser, Shop
from web.test_mounting import served, wsgi

SECRET = "s" * 32
QUICK = {"every": 0.05}
SOURCE = Path(turnout.__file__).parents[1]


@pytest.fixture(autouse=True)
def secret(monkeypatch):
    monkeypatch.setenv("TURNOUT_SECRET", SECRET)


@pytest.fixture(params=["memory", "sqlite", "postgresql", "mariadb", "redis", "sharded"])
def anywhere(request, tmp_path):
    """A shop on each store."""
    found = Shop(URLS[request.param](tmp_path))
    yield found
    found.app.close()


def token(shop, job_id, **options) -> str:
    return shop.app.job(job_id).status_token(**options)


def succeed(shop, leased, result='"charged"'):
    now = shop.app.clock()
    outcome = Outcome.succeeded(leased, now - 1, now, keep=3_600.0, result=result)
    assert shop.store.exchange("e1", [outcome], None).settled == [leased.id]


class Stream:
    """An open stream: what a browser's EventSource does with it."""

    def __init__(self, port: int, path: str, **headers: str) -> None:
        self.line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.line.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        self.answer = self.line.getresponse()
        self.code = self.answer.status
        self.last_id = ""

    def next(self):
        """Return what the next event says; None where the stream has ended."""
        while line := self.answer.readline():
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                self.last_id = value
            if name == "data":
                return json.loads(value)
        return None

    def until(self, state: str):
        while (event := self.next()) is not None and event["state"] != state:
            pass
        return event

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.answer.close()
        self.line.close()


def test_a_stream_tells_the_life_of_a_job_and_ends_with_it(anywhere):
    shop = anywhere
    jobs = [shop.charge.enqueue(n) for n in range(3)]
    path = f"/{token(shop, jobs[0].id, result=True)}/events"
    with served(status_app(shop.app, **QUICK)) as port, Stream(port, path) as stream:
        assert stream.answer.getheader("content-type").startswith("text/event-stream")
        first = stream.next()
        assert first == {"state": "queued", "ended": False, "progress": None, "position": 3}
        leased = shop.lease()
        while leased.id != jobs[0].id:  # shards have no order among them
            leased = shop.lease()
        running = {"state": "running", "ended": False, "progress": None, "position": None}
        assert stream.until("running") == running
        said = {"value": 1, "total": 3, "message": "asking the bank"}
        assert shop.store.note("e1", leased, msgspec.json.encode(said).decode())
        assert stream.next() == {**running, "progress": said}
        succeed(shop, leased)
        last = stream.next()
        assert last == {
            "state": "succeeded", "ended": True, "progress": None, "position": None,
            "result": "charged",
        }  # fmt: skip
        assert stream.next() is None
        with Stream(port, path, last_event_id=stream.last_id) as again:
            assert again.code == 204, "browsers stop asking"


def test_the_same_once_as_json(anywhere):
    shop = anywhere
    browser = Browser(status_app(shop.app))
    job = shop.charge.enqueue(1)
    path = f"/{job.status_token()}"
    assert browser.json(path) == {
        "state": "queued", "ended": False, "progress": None, "position": 1,
    }  # fmt: skip
    leased = shop.lease()
    assert browser.json(path)["state"] == "running"
    succeed(shop, leased)
    assert browser.json(path) == {
        "state": "succeeded", "ended": True, "progress": None, "position": None,
    }  # fmt: skip
    assert browser.json(f"/{token(shop, job.id, result=True)}")["result"] == "charged"


@pytest.mark.parametrize("state", [State.DEAD, State.DISCARDED, State.CANCELLED])
def test_a_failure_tells_that_it_failed_and_nothing_else(anywhere, state):
    shop = anywhere
    shop.charge.enqueue(4711, note="private note")
    said = {"error": "shop.CardError", "message": "card 4242", "traceback": "File bank.py"}
    job_id = shop.end(state, reason="the bank said no", **said)
    answer = Browser(status_app(shop.app)).client.get(f"/{token(shop, job_id, result=True)}")
    assert answer.json() == {
        "state": state.value, "ended": True, "progress": None, "position": None,
    }  # fmt: skip
    everything = answer.text + str(answer.headers)
    for secret in ("4711", "private", "Card", "4242", "bank", "critical", "shop", "web1", job_id):
        assert secret not in everything, secret


def test_later_jobs_do_not_push_one_back(shop):
    job = shop.charge.enqueue(1)
    with (
        served(status_app(shop.app, **QUICK)) as port,
        Stream(port, f"/{job.status_token()}/events") as stream,
    ):
        assert stream.next()["position"] == 1
        for n in range(5):
            shop.charge.enqueue(n)
        shop.lease()
        assert stream.next()["state"] == "running"


def test_what_is_scheduled_or_hidden_has_no_position(shop):
    job = shop.charge.using(delay=600).enqueue(1)
    due = shop.charge.enqueue(1)
    assert Browser(status_app(shop.app)).json(f"/{job.status_token()}")["position"] is None
    hidden = Browser(status_app(shop.app, positions=False))
    assert hidden.json(f"/{due.status_token()}")["position"] is None


def test_tokens_that_do_not_open(shop):
    job = shop.charge.enqueue(1)
    browser = Browser(status_app(shop.app))
    good = job.status_token(60)
    forged = sign(Grant(job.id, 2**40), "f" * 32)
    for path in (f"/{forged}", f"/{forged}/events", f"/{good[:-1]}", f"/{job.id}", "/", "/x/y/z"):
        assert "error" in browser.json(path, 404), path
    for path in (f"/{good}", f"/{good}/events"):
        assert browser.client.post(path).status_code == 405
    now = shop.app.clock()
    shop.app.clock = lambda: now + 61
    assert "expired" in browser.json(f"/{good}", 410)["error"]
    assert "expired" in browser.json(f"/{good}/events", 410)["error"]


def test_a_stream_ends_with_its_token(shop):
    job = shop.charge.enqueue(1)
    with (
        served(status_app(shop.app, **QUICK)) as port,
        Stream(port, f"/{job.status_token(1)}/events") as stream,
    ):
        assert stream.next()["state"] == "queued"
        assert stream.next() is None


def test_answers_are_kept_by_nobody_and_told_to_nobody(shop):
    answer = Browser(status_app(shop.app)).client.get(f"/{shop.charge.enqueue(1).status_token()}")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_job_nobody_knows_yet_is_waited_for(shop):
    job_id = new_id()
    path = f"/{token(shop, job_id)}"
    with served(status_app(shop.app, **QUICK)) as port:
        assert Browser(status_app(shop.app)).json(path, 404)["state"] == "unknown"
        with Stream(port, f"{path}/events") as stream:
            assert stream.next() == {
                "state": "unknown", "ended": False, "progress": None, "position": None,
            }  # fmt: skip
            shop.put(id=job_id)
            assert stream.next()["state"] == "queued"


def test_but_not_for_ever(shop, monkeypatch):
    monkeypatch.setattr("turnout.web.watching.PATIENT", 0.2)
    with (
        served(status_app(shop.app, **QUICK)) as port,
        Stream(port, f"/{token(shop, new_id())}/events") as stream,
    ):
        assert [stream.next()["ended"], stream.next()["ended"]] == [False, True]
        assert stream.next() is None


def test_a_job_deleted_meanwhile_ends_its_stream(shop):
    job = shop.charge.enqueue(1)
    with (
        served(status_app(shop.app, **QUICK)) as port,
        Stream(port, f"/{job.status_token()}/events") as stream,
    ):
        assert stream.next()["state"] == "queued"
        assert shop.store.change(turnout.job.JobFilter(ids=(job.id,)), "delete") == 1
        assert stream.next()["state"] == "unknown"
        assert stream.next() is None


def test_streams_of_a_job_and_of_the_process_are_capped(shop):
    jobs = [shop.charge.enqueue(n) for n in range(4)]
    with served(status_app(shop.app, streams=MOST_EACH + 2, **QUICK)) as port, ExitStack() as open_:

        def follow(job):
            return open_.enter_context(Stream(port, f"/{job.status_token()}/events"))

        held = [follow(jobs[0]) for _ in range(MOST_EACH)]
        assert {one.code for one in held} == {200}
        for one in held:
            one.next()
        refused = follow(jobs[0])
        assert (refused.code, refused.answer.getheader("retry-after")) == (503, "5")
        assert [follow(job).next()["state"] for job in jobs[1:3]] == ["queued"] * 2
        assert follow(jobs[3]).code == 503, "the process is full"
        shop.lease()
        assert [one.next()["state"] for one in held] == ["running"] * MOST_EACH


def test_a_stream_that_ended_makes_room(shop):
    with served(status_app(shop.app, streams=1, **QUICK)) as port:
        for n in range(3):
            job = shop.charge.enqueue(n)
            with Stream(port, f"/{job.status_token()}/events") as stream:
                assert stream.next()["state"] == "queued"
                succeed(shop, shop.lease())
                assert stream.until("succeeded")["ended"]
                assert stream.next() is None


def test_where_streams_are_switched_off_the_status_is_still_told(shop):
    job = shop.charge.enqueue(1)
    browser = Browser(status_app(shop.app, streams=0))
    assert "ask for the status" in browser.json(f"/{job.status_token()}/events", 404)["error"]
    assert browser.json(f"/{job.status_token()}")["state"] == "queued"


def test_a_hundred_streams_cost_one_look(shop, monkeypatch):
    asked = Counter()
    for verb in ("find", "count"):
        real = getattr(shop.store, verb)

        def counted(*args, _real=real, _verb=verb, **options):
            asked[_verb] += 1
            return _real(*args, **options)

        monkeypatch.setattr(shop.store, verb, counted)
    jobs = [shop.charge.enqueue(n) for n in range(100)]
    with served(status_app(shop.app, every=0.25)) as port, ExitStack() as open_:
        streams = [
            open_.enter_context(Stream(port, f"/{job.status_token()}/events")) for job in jobs
        ]
        for stream in streams:
            assert stream.next()["state"] == "queued"
        before = asked["find"]
        last = asked["find"] + 4
        wait_until(lambda: asked["find"] >= last, "four more looks")
        leased = [shop.lease() for _ in jobs]
        for one in leased:
            succeed(shop, one)
        for stream in streams:
            assert stream.until("succeeded")["ended"]
        assert asked["find"] - before < 100, "a look for each stream would be 400 by now"
        assert asked["count"] <= asked["find"]


def test_a_store_that_is_away_ends_no_stream_and_is_told_to_requests(monkeypatch):
    valkey.need()
    monkeypatch.setattr("turnout.web.status.PATIENCE", 0.5)
    monkeypatch.setattr("turnout.web.status.QUIET", 0.2)
    server = valkey.Server("--appendonly", "yes", "--appendfsync", "always")
    shop = Shop(server.url)
    job = shop.charge.enqueue(1)
    try:
        with (
            served(status_app(shop.app, **QUICK)) as port,
            Stream(port, f"/{job.status_token()}/events") as stream,
        ):
            assert stream.next()["state"] == "queued"
            server.kill()
            with Stream(port, f"/{job.status_token()}") as asked:
                assert (asked.code, asked.answer.getheader("retry-after")) == (503, "5")
                assert "the store does not answer" in asked.answer.read().decode()
            while stream.answer.readline() != b": still here\n":
                pass
            server.start()
            wait_until(lambda: shop.heartbeat() is None, "the store is back")
            succeed(shop, shop.lease())
            assert stream.until("succeeded")["ended"]
    finally:
        shop.app.close()
        server.close()


def test_below_a_path(shop):
    job = shop.charge.enqueue(1)
    app = Starlette(routes=[Mount("/status", status_app(shop.app))])
    assert Browser(app, "/status").json(f"/{job.status_token()}")["state"] == "queued"


def test_under_wsgi(shop):
    job = shop.charge.enqueue(1)
    with wsgi(a2wsgi.ASGIMiddleware(status_app(shop.app, **QUICK))) as port:
        with Stream(port, f"/jobs/{job.status_token()}") as asked:
            assert json.loads(asked.answer.read())["state"] == "queued"
        succeed(shop, shop.lease())
        with Stream(port, f"/jobs/{job.status_token()}/events") as stream:
            assert stream.next()["ended"]


DJANGO = """
import django, json, sys
from django.conf import settings
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF="urls")
sys.modules["urls"] = type(sys)("urls")
from django.http import HttpResponse
from django.urls import path
sys.modules["urls"].urlpatterns = [path("hello", lambda request: HttpResponse("hello"))]
from django.core.asgi import get_asgi_application
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from turnout import Turnout
from turnout.web import status_app
site = get_asgi_application()
jobs = Turnout("memory:")
task = jobs.task(name="t")(lambda: None)
job = task.enqueue()
app = Starlette(routes=[Mount("/status", status_app(jobs)), Mount("/", site)])
client = TestClient(app)
print(client.get(f"/status/{job.status_token()}").json()["state"], client.get("/hello").text)
"""


def test_beside_django(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", DJANGO], capture_output=True, text=True, timeout=50, cwd=tmp_path,
        env={"PYTHONPATH": str(SOURCE), "TURNOUT_SECRET": SECRET}, check=False,
    )  # fmt: skip
    assert done.stdout == "queued hello\n", done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [({"every": 0}, "every"), ({"every": 61}, "every"), ({"streams": -1}, "streams")],
)
def test_impossible_options_are_refused(shop, options, says):
    with pytest.raises(ConfigError, match=says):
        status_app(shop.app, **options)


def test_without_a_secret_nothing_is_served(monkeypatch):
    monkeypatch.delenv("TURNOUT_SECRET")
    with pytest.raises(ConfigError, match="secret"):
        status_app(turnout.Turnout("memory:"))


def test_the_thread_ends_when_nobody_has_asked_for_a_while(shop, monkeypatch):
    monkeypatch.setattr("turnout.web.watching.IDLE", 0.05)
    job = shop.charge.enqueue(1)
    browser = Browser(status_app(shop.app))

    others = set(threading.enumerate())  # of earlier tests

    def looking():
        return [one for one in threading.enumerate() if one.name == "turnout-status"]

    for _ in range(2):
        assert browser.json(f"/{job.status_token()}")["state"] == "queued"
        wait_until(lambda: set(looking()) <= others, "the thread has ended")
