"""Requests for full queues, over real HTTP: uvicorn for ASGI, the standard library's for WSGI."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import uvicorn

from process.rig import wait_until
from turnout import ConfigError, QueueFull, Turnout
from turnout.contrib.pressure import ASGIPressure, Target, WSGIPressure, retry_after
from turnout.errors import StoreUnavailable
from turnout.job import JobFilter


class Service:
    """An application that enqueues for each POST, behind the layer, on a port."""

    def __init__(self) -> None:
        self.jobs = Turnout("memory:")
        self.jobs.store.setup()
        self.jobs.queue("mail", max_depth=2)
        self.port = 0

        @self.jobs.task(name="mail", queue="mail")
        def mail(path: str) -> None: ...

        self.mail = mail

    def paths(self) -> dict[str, str | Target]:
        return {
            "/mail": "mail",
            "/mail/bulk": Target("mail", depth=1),
            "/reports/": Target("reports", depth=1, methods=["get"]),
        }

    def ask(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, body

    @property
    def recorded(self) -> int:
        return len(self.jobs.store.find(JobFilter(queue="mail")))

    def handle(self, method: str, path: str) -> bytes:
        if method == "POST":
            self.mail.enqueue(path)
        return b"done"


class Quiet(WSGIRequestHandler):
    def log_message(self, *_args: object) -> None: ...


@pytest.fixture(params=["asgi", "wsgi"])
def service(request):
    made = Service()
    yield from (_asgi if request.param == "asgi" else _wsgi)(made, status=429)


def _asgi(made: Service, status: int):
    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        body = made.handle(scope["method"], scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    layer = ASGIPressure(app, made.jobs, made.paths(), status=status)
    listener = socket.create_server(("127.0.0.1", 0))
    made.port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(layer, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_until(lambda: server.started)
    yield made
    server.should_exit = True
    thread.join(10)
    listener.close()


def _wsgi(made: Service, status: int):
    def app(environ, start_response):
        body = made.handle(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        start_response("200 OK", [])
        return [body]

    layer = WSGIPressure(app, made.jobs, made.paths(), status=status)
    server = make_server("127.0.0.1", 0, layer, handler_class=Quiet)
    made.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    server.shutdown()
    thread.join(10)
    server.server_close()


def test_a_full_queue_answers_429_and_when_to_come_back(service):
    for _ in range(2):
        assert service.ask("POST", "/mail")[0] == 200
    status, headers, body = service.ask("POST", "/mail/now")
    assert status == 429
    assert 30 <= int(headers["retry-after"]) <= 36, "nothing has moved: half a minute, spread"
    assert json.loads(body)["queue"] == "mail"
    assert service.recorded == 2, "the application was not asked"
    assert service.ask("GET", "/mail")[0] == 200, "reading passes"
    assert service.ask("GET", "/other")[0] == 200


def test_the_longest_path_decides_and_targets_may_be_lower_than_ceilings(service):
    assert service.ask("POST", "/mail/bulk")[0] == 200
    assert service.ask("POST", "/mail/bulk")[0] == 429
    assert service.ask("POST", "/mail")[0] == 200


def test_methods_can_be_named(service):
    service.mail.using(queue="reports").enqueue("x")
    assert service.ask("POST", "/reports/1")[0] == 200
    wait_until(lambda: service.ask("GET", "/reports/1")[0] == 429)


def test_a_queue_that_fills_up_during_the_request_answers_too(service):
    refuses = service.jobs.queue("once", max_depth=1)
    service.mail.using(queue="once").enqueue("x")
    original = service.handle

    def handle(method, path):
        service.mail.using(queue=refuses.name).enqueue(path)
        return original(method, path)

    service.handle = handle
    status, headers, body = service.ask("POST", "/mail")
    assert (status, json.loads(body)["queue"]) == (429, "once")
    assert "retry-after" in headers


def test_while_the_numbers_cannot_be_read_requests_pass(service, monkeypatch):
    for _ in range(2):
        service.mail.enqueue("x")

    def away(**_):
        raise StoreUnavailable("no route to it")

    monkeypatch.setattr(service.jobs.store, "count", away)
    wait_until(lambda: service.ask("POST", "/mail")[0] == 200)
    assert service.ask("POST", "/mail")[0] == 200, "and so they go on"


def test_503_where_that_is_wanted():
    made = Service()
    for service in _wsgi(made, status=503):
        for _ in range(2):
            service.mail.enqueue("x")
        assert service.ask("POST", "/mail")[0] == 503


@pytest.mark.parametrize(
    ("drain", "least", "most"), [(0.0, 1, 1), (100, 100, 120), (1e6, 3600, 3600)]
)
def test_retry_after_is_the_drain_estimate_within_bounds(drain, least, most):
    full = QueueFull("mail", "so it is", 1, 1, drain)
    assert all(least <= retry_after(full) <= most for _ in range(50))


def test_what_cannot_work_is_refused():
    jobs = Turnout("memory:")
    with pytest.raises(ConfigError, match="no ceiling"):
        WSGIPressure(lambda *_: [], jobs, {"/mail": "mail"})
    with pytest.raises(ConfigError, match="429 or 503"):
        WSGIPressure(lambda *_: [], jobs, {"/mail": Target("mail", depth=1)}, status=500)
    with pytest.raises(ConfigError, match="slash"):
        WSGIPressure(lambda *_: [], jobs, {"mail": Target("mail", depth=1)})
    with pytest.raises(ConfigError, match="max_depth"):
        Target("mail", depth=-1)
