"""A worker whose machine has the wrong time: the store's clock is the one that counts."""

from __future__ import annotations

import pytest

from conformance.stores import URLS
from turnout.job import State

# These, and shards of them, have no clock but that of the process which asks.
WITHOUT_CLOCK = ("memory", "sqlite", "one shard", "sharded")

pytestmark = [
    pytest.mark.process,
    pytest.mark.parametrize(
        "rig", [name for name in URLS if name not in WITHOUT_CLOCK], indirect=True
    ),
]


@pytest.mark.parametrize("off", [3600.0, -3600.0])
def test_a_retry_waits_by_the_stores_clock(rig, off):
    rig.start(clock=off)
    # What it says comes from the store's clock, which is known to half a trip, and a trip to a
    # busy server may be a long one: so it waits much longer than it must.
    job = rig.enqueue("late", "a", 0.8)
    record = rig.until(job, State.SUCCEEDED)
    first, second = (float(line[3]) for line in rig.ledger.said("start", "a"))
    assert record.attempt == 2
    assert second - first >= 0.3, "it waited"


def test_a_deadline_is_judged_by_the_stores_clock(rig):
    rig.start(clock=3600.0)
    job = rig.enqueue("note", "a", expires=600)
    assert rig.until(job).state is State.SUCCEEDED


def test_a_clock_that_jumps_while_it_works_changes_nothing(rig):
    rig.start(jumps=3600.0)
    jobs = [rig.enqueue("late", name, 0.1) for name in "abc"]
    for job in jobs:
        assert rig.until(job, State.SUCCEEDED).attempt == 2
