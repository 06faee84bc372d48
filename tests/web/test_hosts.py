"""Mounted in FastAPI, Starlette, Django (ASGI and WSGI) and Flask, over real HTTP."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from turnout.job import State
from web.conftest import Shop
from web.hosts import HOSTS, PREFIX

TESTS = Path(__file__).parents[1]
PAGES = ("/", "/queues", "/jobs", "/dead", "/workers", "/tasks", "/limits", "/store")


@pytest.fixture(scope="module", params=HOSTS)
def host(request, tmp_path_factory):
    """A shop on SQLite, and a client of the application in another process that shows it."""
    url = f"sqlite:///{tmp_path_factory.mktemp('host')}/jobs.db"
    shop = Shop(url)
    path = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
    server = subprocess.Popen(
        [sys.executable, "-m", "web.hosts", request.param, url],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert server.stdout is not None
    port = server.stdout.readline().strip()
    if not port:
        pytest.fail(str(server.communicate(timeout=20)[1]))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
        client.headers["x-user"] = "anna:admin"
        yield shop, client
    server.kill()
    server.communicate(timeout=20)
    shop.app.close()


def test_every_page_stays_below_its_path(host):
    _, client = host
    for path in PAGES:
        answer = client.get(PREFIX + path)
        assert (answer.status_code, "anna" in answer.text) == (200, True), path
        links = re.findall(r'(?:href|src|action)="([^"]*)"', answer.text)
        assert [one for one in links if not one.startswith((PREFIX, "#"))] == [], path
    styles = {one for one in links if "/static/" in one}
    assert styles
    assert {client.get(one).status_code for one in styles} == {200}


def test_the_path_without_a_slash_leads_there(host):
    _, client = host
    answer = client.get(PREFIX, follow_redirects=True)
    assert (answer.status_code, "Overview" in answer.text) == (200, True)


def test_the_host_goes_on_and_says_who_looks(host):
    _, client = host
    assert client.get("/hello").text == "hello"
    refused = client.get(PREFIX + "/", headers={"x-user": ""})
    assert (refused.status_code, "not allowed" in refused.text) == (403, True)
    assert refused.headers["x-frame-options"] == "DENY"


def test_a_form_acts_and_a_foreign_one_does_not(host):
    shop, client = host
    job_id = shop.dead()
    page = client.get(f"{PREFIX}/jobs/{job_id}").text
    [token] = set(re.findall(r'name="token" value="([^"]+)"', page))
    form, path = {"action": "retry", "token": token}, f"{PREFIX}/jobs/{job_id}/act"
    for foreign in ({"sec-fetch-site": "cross-site"}, {"origin": "http://evil.example"}):
        assert client.post(path, data=form, headers=foreign).status_code == 403
    assert client.post(path, data={**form, "token": "x" * 43}).status_code == 403
    as_viewer = client.post(path, data=form, headers={"x-user": "bo:viewer"})
    assert (as_viewer.status_code, shop.state(job_id)) == (403, State.DEAD)
    done = client.post(path, data=form, headers={"origin": str(client.base_url).rstrip("/")})
    assert done.status_code == 303
    assert done.headers["location"] == f"{PREFIX}/jobs/{job_id}?said=retried"
    assert shop.state(job_id) is State.QUEUED


def test_programs_are_answered_in_json(host):
    shop, client = host
    shop.charge.enqueue(7)
    found = client.get(f"{PREFIX}/jobs.json", params={"q": "arg.order_id:7"}).json()
    assert [one["task"] for one in found["jobs"]] == ["shop.charge"]
    assert client.get(f"{PREFIX}/openapi.json").json()["servers"] == [{"url": PREFIX}]
    assert client.get(f"{PREFIX}/no/such.json").status_code == 404
    assert client.get(f"{PREFIX}/metrics").text.startswith("# HELP turnout_up")


def test_an_open_page_hears_of_a_change(host):
    shop, client = host
    with client.stream("GET", f"{PREFIX}/live") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith(":")) == ": hello"
        shop.charge.enqueue(1)
        assert next(line for line in lines if line.startswith("event")) == "event: change"
