"""A look through many jobs is many commands: after the caller's time none is sent any more."""

from __future__ import annotations

import pytest

from conformance.builders import new_job, put
from turnout.errors import StoreSlow
from turnout.job import JobFilter
from turnout.store.patience import patient
from turnout.store.redis import places


def commands(raw) -> int:
    return raw.info("commandstats").get("cmdstat_lrange", {}).get("calls", 0)


def test_a_long_look_ends_between_two_pages(store, raw, monkeypatch):
    monkeypatch.setattr(places, "PAGE", 1)
    for start in range(0, 5_000, 1_000):
        put(store, *(new_job(n) for n in range(start, start + 1_000)))
    before = commands(raw)
    with pytest.raises(StoreSlow), patient(0.02):
        store.find(JobFilter(task="another"))
    asked = commands(raw) - before
    assert 0 < asked < 5_000
    assert commands(raw) == before + asked
    assert len(store.find(JobFilter(queue="default"), limit=10)) == 10


def test_a_connection_whose_time_is_up_serves_the_next(store):
    with patient(60.0), store._connections.lend() as link:
        link.run("PING")
    with pytest.raises(StoreSlow), patient(0.0):
        store.count()
    with store._connections.lend() as same:
        assert same is link
        assert same.run("ECHO", "here") == b"here"
