"""Applications of other frameworks with the dashboard under `/ops/jobs`, each served for real.

`python -m web.hosts NAME STORE_URL` prints its port. The header `X-User: name:role` stands for the
session of the host's own user.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any
from wsgiref.simple_server import WSGIServer

from turnout import Turnout
from turnout.web import Person, dashboard

PREFIX = "/ops/jobs"


def authorize(request: Any) -> Person | None:
    name, _, role = request.headers.get("x-user", "").partition(":")
    return Person(name, role) if name else None


def pages(url: str) -> Any:
    return dashboard(Turnout(url), authorize=authorize)


def tell(port: int) -> None:
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()


# ---- ASGI


def on_starlette(inner: Any) -> Any:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route

    hello = Route("/hello", lambda _request: PlainTextResponse("hello"))
    return Starlette(routes=[hello, Mount(PREFIX, inner)])


def on_fastapi(inner: Any) -> Any:
    from fastapi import FastAPI
    from fastapi.responses import PlainTextResponse

    app = FastAPI()
    app.get("/hello", response_class=PlainTextResponse)(lambda: "hello")
    app.mount(PREFIX, inner)
    return app


def on_django_asgi(inner: Any) -> Any:
    from starlette.applications import Starlette
    from starlette.responses import RedirectResponse
    from starlette.routing import Mount, Route

    _configure_django()
    from django.core.asgi import get_asgi_application

    bare = Route(PREFIX, lambda _request: RedirectResponse(PREFIX + "/"))
    django = Mount("/", get_asgi_application())
    return Starlette(routes=[bare, Mount(PREFIX, inner), django])


def _configure_django() -> None:
    from django.conf import settings
    from django.http import HttpResponse
    from django.urls import path

    urls = ModuleType("host_urls")
    urls.urlpatterns = [path("hello", lambda _request: HttpResponse("hello"))]  # type: ignore[attr-defined]
    sys.modules["host_urls"] = urls
    settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF="host_urls", SECRET_KEY="of a test")


def serve_asgi(app: Any) -> None:
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    tell(listener.getsockname()[1])
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listener])


# ---- WSGI


def on_flask(inner: Any) -> Any:
    from a2wsgi import ASGIMiddleware
    from flask import Flask
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    app = Flask("host")
    app.get("/hello")(lambda: "hello")
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {PREFIX: ASGIMiddleware(inner)})  # type: ignore[method-assign]
    return app


def on_django_wsgi(inner: Any) -> Any:
    from a2wsgi import ASGIMiddleware
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    _configure_django()
    from django.core.wsgi import get_wsgi_application

    return DispatcherMiddleware(get_wsgi_application(), {PREFIX: ASGIMiddleware(inner)})


def serve_wsgi(app: Any) -> None:
    from werkzeug.serving import make_server

    server: WSGIServer = make_server("127.0.0.1", 0, app, threaded=True)
    tell(server.server_port)
    server.serve_forever()


HOSTS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], None]]] = {
    "starlette": (on_starlette, serve_asgi),
    "fastapi": (on_fastapi, serve_asgi),
    "django-asgi": (on_django_asgi, serve_asgi),
    "django-wsgi": (on_django_wsgi, serve_wsgi),
    "flask": (on_flask, serve_wsgi),
}

if __name__ == "__main__":
    make, serve = HOSTS[sys.argv[1]]
    serve(make(pages(sys.argv[2])))
