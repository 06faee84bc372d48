"""Tests of what only MySQL and MariaDB do, on a real server; some of them crash it."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import pytest

from support import mariadb
from turnout.store.mysql import MySQLStore


@pytest.fixture
def url() -> str:
    """The URL of empty tables on the server that all tests share."""
    return mariadb.fresh_url()


@pytest.fixture
def prefix(url) -> str:
    """What the names of those tables begin with."""
    return dict(parse_qsl(urlsplit(url).query))["prefix"]


@pytest.fixture
def store(url) -> Iterator[MySQLStore]:
    """An empty store."""
    opened = MySQLStore.from_url(url)
    opened.setup()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def mortal() -> Iterator[mariadb.Server]:
    """A server of this module's own, which may be crashed and misconfigured."""
    mariadb.need()
    if not mariadb.has_own():
        pytest.skip("crashing a server needs one of our own: install mariadb-server")
    server = mariadb.Server()
    yield server
    server.close()
