"""Every test of this folder gets a rig, and leaves no process behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from process.rig import Rig

if not sys.platform.startswith("linux"):
    collect_ignore_glob = ["test_*.py"]  # /proc tells the rig which processes live


@pytest.fixture
def rig(tmp_path) -> Iterator[Rig]:
    """One store in one folder, and the way to start workers on it."""
    made = Rig(tmp_path)
    yield made
    made.close()
