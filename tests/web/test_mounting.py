"""Under other applications: below a path, in ASGI and in WSGI; and served alone."""

from __future__ import annotations

import http.client
import socket
import threading
from contextlib import closing, contextmanager
from wsgiref.simple_server import WSGIRequestHandler, make_server

import a2wsgi
import pytest
import uvicorn
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.routing import Mount

from turnout.cli import main
from turnout.errors import ConfigError
from turnout.job import State
from turnout.web import dashboard
from turnout.web.server import ServerOptions, choose_authorize, users
from web.conftest import Browser


def inner(shop):
    return dashboard(shop.app, authorize=lambda _request: "admin")


def test_below_a_path_every_link_stays_there(shop):
    job_id = shop.dead()
    browser = Browser(Starlette(routes=[Mount("/ops/jobs", inner(shop))]), "/ops/jobs")
    for path in ("/", "/queues", "/jobs", f"/jobs/{job_id}", "/dead", "/workers", "/store"):
        page = browser.get(path)
        links = [part.split('"')[0] for part in page.split('href="')[1:]]
        links += [part.split('"')[0] for part in page.split('action="')[1:]]
        assert [one for one in links if not one.startswith(("/ops/jobs", "#"))] == [], path
    to = browser.post(f"/jobs/{job_id}/act", action="retry").headers["location"]
    assert to == f"/ops/jobs/jobs/{job_id}?said=retried"
    assert shop.state(job_id) is State.QUEUED
    assert browser.json("/openapi.json")["servers"] == [{"url": "/ops/jobs"}]


class Quiet(WSGIRequestHandler):
    def log_message(self, *_): ...


@contextmanager
def wsgi(app):
    """Serve a WSGI application below /jobs, as werkzeug's dispatcher would."""

    def mounted(environ, start_response):
        assert environ["PATH_INFO"].startswith("/jobs")
        environ["SCRIPT_NAME"] = "/jobs"
        environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix("/jobs")
        return app(environ, start_response)

    server = make_server("127.0.0.1", 0, mounted, handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def ask(port, method, path, body=None, **headers):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as line:
        line.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = line.getresponse()
        return answer.status, answer.getheader("location"), answer.read().decode()


def test_under_wsgi(shop):
    job_id = shop.dead()
    with wsgi(a2wsgi.ASGIMiddleware(inner(shop))) as port:
        status, _, page = ask(port, "GET", "/jobs/")
        assert (status, "Overview" in page, 'href="/jobs/queues"' in page) == (200, True, True)
        status, _, page = ask(port, "GET", f"/jobs/jobs/{job_id}")
        assert (status, "declined" in page) == (200, True)
        status, to, _ = ask(
            port, "POST", f"/jobs/jobs/{job_id}/act", "action=retry",
            turnout_client="t", content_type="application/x-www-form-urlencoded",
        )  # fmt: skip
        assert (status, to) == (303, f"/jobs/jobs/{job_id}?said=retried")
    assert shop.state(job_id) is State.QUEUED


@contextmanager
def served(app):
    """Serve an ASGI application by uvicorn."""
    config = uvicorn.Config(app, port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            thread.join(20)


def test_an_open_page_is_told_of_a_change(shop, monkeypatch):
    monkeypatch.setattr("turnout.web.live.EVERY", 0.05)
    monkeypatch.setattr("turnout.web.pulse.FRESH", 0.01)
    with served(inner(shop)) as port:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with closing(line):
            line.request("GET", "/live")
            answer = line.getresponse()
            assert answer.getheader("content-type").startswith("text/event-stream")
            assert [answer.readline() for _ in range(3)][1] == b": hello\n"
            shop.charge.enqueue(1)
            assert answer.readline() == b"event: change\n"


def test_too_many_open_pages_are_refused(admin, monkeypatch):
    monkeypatch.setattr("turnout.web.live.MOST", 0)
    assert "Too many pages are watching" in admin.get("/live", code=503)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.com", ""])
def test_an_open_address_without_users_is_refused(host, monkeypatch):
    monkeypatch.delenv("TURNOUT_WEB_USERS", raising=False)
    with pytest.raises(ConfigError, match="can be reached by others"):
        choose_authorize(ServerOptions(host=host))
    choose_authorize(ServerOptions(host="127.0.0.1"))
    monkeypatch.setenv("TURNOUT_WEB_USERS", "anna:viewer:pw")
    choose_authorize(ServerOptions(host=host))


def test_the_command_refuses_before_it_looks_for_the_application(monkeypatch):
    monkeypatch.delenv("TURNOUT_WEB_USERS", raising=False)
    done = CliRunner().invoke(main, ["web", "no.such.module", "--host", "0.0.0.0"])
    assert done.exit_code == 1
    assert "can be reached by others" in done.output


@pytest.mark.parametrize(
    ("text", "line"),
    [("anna", 1), ("# who\nanna:root:pw", 2), ("anna:viewer:", 1), (":viewer:pw", 1)],
)
def test_a_list_of_users_that_does_not_read_is_told_by_line(text, line):
    with pytest.raises(ConfigError, match=f"line {line} of the users"):
        users(text)


def test_a_list_of_users_reads(shop):
    import base64

    app = dashboard(shop.app, authorize=users("# who\nanna:viewer:p:w\nbot:operator:" + "t" * 20))
    browser = Browser(app)
    given = base64.b64encode(b"anna:p:w").decode()
    assert "anna" in browser.get("/", headers={"authorization": f"Basic {given}"})
    assert "bot" in browser.get("/", headers={"authorization": "Bearer " + "t" * 20})
    browser.get("/", code=401)


@pytest.mark.parametrize("text", ["", "# nobody\n"])
def test_an_empty_list_lets_nobody_in(text):
    with pytest.raises(ConfigError, match="empty"):
        users(text)


def test_users_from_a_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        choose_authorize(ServerOptions(users=str(tmp_path / "none")))
    (tmp_path / "users").write_text("anna:viewer:pw\n")
    assert choose_authorize(ServerOptions(host="0.0.0.0", users=str(tmp_path / "users")))
