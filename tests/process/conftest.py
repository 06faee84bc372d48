"""Every test of this folder gets a rig, and leaves no process behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from conformance.stores import URLS
from process.rig import Rig

if not sys.platform.startswith("linux"):
    collect_ignore_glob = ["test_*.py"]  # /proc tells the rig which processes live


# Shards are tried out by test_shards.py; behind them are the same stores.
SHARED = [name for name in URLS if name != "memory" and "shard" not in name]


@pytest.fixture(params=SHARED)
def rig(request, tmp_path) -> Iterator[Rig]:
    """An empty store that processes can share, and the way to start workers on it."""
    made = Rig(tmp_path, URLS[request.param](tmp_path))
    yield made
    made.close()


@pytest.fixture
def sqlite_rig(tmp_path) -> Iterator[Rig]:
    """The same over `jobs.db` in the test's folder, for what only files do."""
    made = Rig(tmp_path, f"sqlite:///{tmp_path}/jobs.db")
    yield made
    made.close()
