"""The stores that must all keep the same promises; each test here runs once on every one of them.

A further store is one more line in `URLS`: a function from a temporary directory to a URL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from turnout.store import open_store
from turnout.store.protocol import Store

URLS: dict[str, Callable[[Path], str]] = {
    "memory": lambda _folder: "memory:",
    "sqlite": lambda folder: f"sqlite:///{folder}/jobs.db",
}
"""Store name -> where an empty one of its kind may be made, given an empty folder."""


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
