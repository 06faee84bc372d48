"""What lies behind many others is found in its order, page by page, without a walk past them."""

from __future__ import annotations

import pytest

from conformance.builders import T, finish, job_id, new_job, numbers, put
from turnout.job import JobFilter
from turnout.store.postgres import records


@pytest.fixture
def deep(store, monkeypatch):
    """The jobs of `old` and of the task `rare` lie behind more than one look near or far shows."""
    monkeypatch.setattr(records, "_PAGE", 2)
    monkeypatch.setattr(records, "_NEAR", 4)
    monkeypatch.setattr(records, "_FAR", 5)
    put(store, *(new_job(n, "old", priority=n % 3) for n in range(1, 14)))
    put(store, *(new_job(n, "new", task="rare") for n in range(14, 21)))
    put(store, *(new_job(n, "new") for n in range(21, 40)))
    put(store, *(new_job(n, "old", run_at=T + 60) for n in range(40, 43)))
    put(store, *(new_job(n, "new", run_at=T + 60) for n in range(43, 50)))
    put(store, new_job(50, "old"))
    return store


def found(store, limit=100, after=None, **fields) -> list[int]:
    return numbers(store.find(JobFilter(**fields), limit=limit, after=after, now=T))


OLD = [50, 42, 41, 40, *range(13, 0, -1)]


def test_a_queue_behind_another_is_found_in_order(deep):
    assert found(deep, queue="old") == OLD
    assert found(deep, queue="old", view="ready") == [50, *range(13, 0, -1)]
    assert found(deep, queue="old", view="scheduled") == [42, 41, 40]
    assert found(deep, queue="nowhere") == []


@pytest.mark.parametrize("size", [1, 3, 7])
def test_it_goes_on_where_a_page_ended(deep, size):
    seen: list[int] = []
    while page := found(deep, queue="old", limit=size, after=job_id(seen[-1]) if seen else None):
        seen += page
    assert seen == OLD


def test_a_task_behind_others_is_found_in_order(deep):
    assert found(deep, task="rare") == list(range(20, 13, -1))
    assert found(deep, task="rare", queue="old") == []
    assert found(deep, task="shop.charge", queue="new", limit=3) == [49, 48, 47]


def test_it_is_merged_with_what_has_ended(deep):
    finish(deep, new_job(60, "old"))
    assert found(deep, queue="old", limit=3) == [60, 50, 42]


GIVEN = 0x018F_0000_0000 / 1000
"""When the ids of these jobs say that they were given."""


@pytest.mark.parametrize("ahead", [-3600, -1, 0, 1, 3600], ids=lambda s: f"by {s} s")
@pytest.mark.parametrize("fields", [{}, {"queue": "old"}, {"task": "rare"}])
def test_jobs_of_before_a_moment_are_found_whatever_clock_gave_their_ids(
    store, monkeypatch, ahead, fields
):
    """A walk begins at the moment's first id; a clock that is ahead gives higher ones."""
    monkeypatch.setattr(records, "_PAGE", 2)
    monkeypatch.setattr(records, "_NEAR", 4)
    monkeypatch.setattr(records, "_FAR", 5)
    clock = GIVEN - ahead
    for n in range(1, 40):
        kind = {"queue": "old"} if n % 3 else {"queue": "new", "task": "rare"}
        later = {"run_at": clock + 9_000} if n % 5 == 0 else {}
        put(store, new_job(n, **kind, **later), now=clock + n)

    def seen(after: int | None, limit: int) -> list[int]:
        where = JobFilter(before=clock + 30, **fields)
        newer = None if after is None else job_id(after)
        return numbers(store.find(where, limit=limit, after=newer, now=clock + 60))

    everything = [n for n in range(29, 0, -1) if not fields or (n % 3 > 0) == ("queue" in fields)]
    assert seen(None, 100) == everything
    paged: list[int] = []
    while page := seen(paged[-1] if paged else None, 4):
        paged += page
    assert paged == everything


def test_a_search_is_planned_with_what_is_searched_for(deep):
    """A plan made once for all values would walk: so there are no prepared searches."""
    for _ in range(12):
        found(deep, task="rare")
    with deep._connections.lend() as connection:
        rows = connection.execute("SELECT statement FROM pg_prepared_statements").fetchall()
    assert not [row for row in rows if "ORDER BY id DESC" in row[0]]
