"""A small storm, as a file's plain values."""

from __future__ import annotations

import copy

import pytest

STORM = {
    "name": "storm",
    "duration": 700.0,
    "seeds": 3,
    "workers": 40,
    "arrivals": {"rate": 17.5},
    "service": {"time": 0.2, "spread": 0.5, "knee": 5, "timeout": 1.2},
    "fault": [{"kind": "outage", "at": 60.0, "for": 60.0}],
    "policy": [{"name": "naive", "wait": {"shape": "exponential", "first": 1}}],
}


@pytest.fixture
def storm():
    return copy.deepcopy(STORM)
