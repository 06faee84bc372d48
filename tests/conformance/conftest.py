"""Every test of this folder that asks for `store` runs once on each of `stores.URLS`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conformance.stores import NOT_ACROSS_SHARDS, SEVERAL, URLS, set_up
from turnout.store.protocol import Store


@pytest.fixture(params=URLS)
def url(request, tmp_path) -> str:
    """The URL of an empty store."""
    return URLS[request.param](tmp_path)


@pytest.fixture
def store(url) -> Iterator[Store]:
    """An empty store, set up."""
    opened = set_up(url)
    yield opened
    opened.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        call = getattr(item, "callspec", None)
        reason = NOT_ACROSS_SHARDS.get(getattr(item, "originalname", ""))
        if reason and call is not None and set(SEVERAL) & set(map(str, call.params.values())):
            item.add_marker(pytest.mark.skip(reason=reason))
