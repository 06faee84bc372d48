"""Tens of thousands of jobs at once: no script holds the server up for long."""

from __future__ import annotations

from typing import Any

import pytest

import redis
from conformance.builders import open_epoch
from process.rig import Rig, wait_until
from turnout.job import JobFilter, Retention, Want

pytestmark = pytest.mark.process
SLOW = 150_000  # us: many times what 1,000 jobs cost, and less than 100,000 would


@pytest.fixture
def rig(mortal, tmp_path):
    settings = ("--slowlog-log-slower-than", str(SLOW), "--slowlog-max-len", "1000")
    made = Rig(tmp_path, mortal(*settings).url)
    yield made
    made.close()


@pytest.fixture
def server(rig):
    """What the server tells of itself."""
    with redis.Redis.from_url(rig.url) as client:
        yield client


def slow(server: redis.Redis) -> list[tuple[int, bytes]]:
    """The scripts that took too long, with their times."""
    return [(one["duration"], one["command"][:60]) for one in server.slowlog_get(1_000)]


def scripts_run(server: redis.Redis) -> int:
    told: dict[str, Any] = server.info("commandstats")
    return sum(told[name]["calls"] for name in ("cmdstat_evalsha", "cmdstat_eval") if name in told)


def fill(rig: Rig, count: int, **using: Any) -> None:
    note = rig.app.tasks["note"].using(**using) if using else rig.app.tasks["note"]
    rig.app.enqueue_many(note.prepare(f"{n}") for n in range(count))


@pytest.mark.parametrize(("count", "batches"), [(10_000, 10), (100_000, 100)])
def test_a_large_enqueue_goes_in_scripts_of_a_thousand(rig, server, count, batches):
    before = scripts_run(server)
    fill(rig, count)
    assert scripts_run(server) - before >= batches
    assert rig.store.count()[0].ready == count
    assert slow(server) == []


@pytest.mark.parametrize("using", [{"delay": 3_600.0}, {"priority": 5}])
def test_so_do_jobs_that_go_elsewhere_than_to_the_list(rig, server, using):
    before = scripts_run(server)
    fill(rig, 10_000, **using)
    assert scripts_run(server) - before >= 10
    [stats] = rig.store.count()
    assert stats.ready + stats.scheduled == 10_000
    assert slow(server) == []


def test_ten_thousand_unique_keys_are_claimed_once(rig, server):
    note = rig.app.tasks["note"]
    for _ in range(2):
        rig.app.enqueue_many(note.using(unique=f"key{n}").prepare(f"{n}") for n in range(10_000))
    assert rig.store.count()[0].ready == 10_000
    assert slow(server) == []


def test_ten_thousand_jobs_that_come_due_at_once_run_once_each(rig, server):
    fill(rig, 10_000, delay=0.5)
    rig.start(threads=4, dead_after=30.0)
    wait_until(lambda: rig.store.count()[0].succeeded == 10_000, "all ran", timeout=60)
    assert len(rig.ledger.said("note")) == 10_000
    assert slow(server) == []


def test_a_lease_is_bounded_whatever_is_asked_for(rig, server):
    fill(rig, 10_000)
    open_epoch(rig.store)
    leased = rig.store.exchange("e1", [], Want((("default", 10_000),), 10_000)).leased
    assert 0 < len(leased) <= 1_000
    assert slow(server) == []


def test_operators_change_and_delete_ten_thousand_in_bounded_scripts(rig, server):
    fill(rig, 10_000)
    before = scripts_run(server)
    assert rig.store.change(JobFilter(queue="default"), "cancel", limit=10_000) == 10_000
    assert scripts_run(server) - before >= 10
    assert rig.store.count()[0].cancelled == 10_000
    assert rig.store.prune(Retention(ended_age=0.0), limit=10_000) == 10_000
    assert rig.store.count()[0].cancelled == 0
    assert slow(server) == []
