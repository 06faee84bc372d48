"""A look at many long queues shows the newest of all of them, and reads a bounded part of each."""

from __future__ import annotations

import pytest

from conformance.builders import T, job_id, new_job, numbers, put
from turnout.job import JobFilter, State
from turnout.store.redis import records


@pytest.fixture
def long(store, monkeypatch):
    """Four queues of thirty jobs each, of which a look reads ten or so."""
    monkeypatch.setattr(records, "ENOUGH", 40)
    put(store, *(new_job(n, f"q{n % 4}") for n in range(120)))
    return store


def test_the_newest_of_all_queues_are_shown_in_order(long):
    found = long.find(JobFilter(states=(State.QUEUED,)), limit=5, now=T)
    assert numbers(found) == [119, 118, 117, 116, 115]


def test_a_search_goes_on_and_skips_nothing(long):
    seen: list[int] = []
    while page := long.find(JobFilter(), limit=7, after=job_id(seen[-1]) if seen else None, now=T):
        seen += numbers(page)
    assert seen == list(range(119, -1, -1))


def test_one_queue_is_read_as_far_as_it_is_asked_for(long):
    found = long.find(JobFilter(queue="q3"), limit=100, now=T)
    assert numbers(found) == list(range(119, 0, -4))
