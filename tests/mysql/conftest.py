"""Tests of what only MySQL and MariaDB do, on a real server; some of them crash it."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import pytest

from support import mysql
from turnout.store.mysql import MySQLStore


@pytest.fixture(scope="module", params=[mysql.MARIADB, mysql.MYSQL], ids=lambda one: one.name)
def family(request) -> mysql.Family:
    """Which of the two servers it is."""
    return request.param


@pytest.fixture
def url(family) -> str:
    """The URL of empty tables on the server that all tests share."""
    return family.fresh_url()


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
def mortal(family) -> Iterator[mysql.Server]:
    """A server of this module's own, which may be crashed and misconfigured."""
    family.need_own()
    server = family.start()
    yield server
    server.close()
