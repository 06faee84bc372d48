"""Every test of this folder that asks for `store` runs once on each of `stores.URLS`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conformance.stores import URLS
from turnout.store import open_store
from turnout.store.protocol import Store


@pytest.fixture(params=URLS)
def url(request, tmp_path) -> str:
    """The URL of an empty store."""
    return URLS[request.param](tmp_path)


@pytest.fixture
def store(url) -> Iterator[Store]:
    """An empty store, set up."""
    opened = open_store(url)
    opened.setup()
    yield opened
    opened.close()
