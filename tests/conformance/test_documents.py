"""Small documents on every store: read, changed, raced for, and left alone when not understood."""

from __future__ import annotations

import pytest

from turnout.documents import Documents, Place
from turnout.errors import SchemaError, StoreUnavailable
from turnout.limits.marks import Mark
from turnout.views import View, save, saved

NOTES = Documents("notes", list[int], key="notes", places=("a", "b"), kept=60.0)


def add(number: int, name: str = "a"):
    def step(places: list[Place[list[int]]]):
        [place] = [one for one in places if one.name == name]
        return place, [*(place.value or []), number]

    return step


def values(store):
    return [place.value for place in NOTES.read(store)]


def test_a_document_is_what_was_written_last(store):
    assert values(store) == [None, None]
    assert NOTES.change(store, add(1)) == [1]
    assert NOTES.change(store, add(2)) == [1, 2]
    NOTES.change(store, add(3, "b"))
    assert values(store) == [[1, 2], [3]]


def test_a_step_that_makes_nothing_changes_nothing(store):
    NOTES.change(store, add(1))
    assert NOTES.change(store, lambda _places: None) is None
    assert values(store) == [[1], None]


def test_two_who_write_at_once_both_keep_theirs(store):
    raced = []

    def step(places: list[Place[list[int]]]):
        if not raced:
            raced.append(NOTES.change(store, add(7)))
        return add(8)(places)

    assert NOTES.change(store, step) == [7, 8]
    assert values(store) == [[7, 8], None]


def test_who_loses_every_race_is_told(store):
    def step(places: list[Place[list[int]]]):
        NOTES.change(store, add(0))
        return add(9)(places)

    with pytest.raises(StoreUnavailable, match="notes change too fast"):
        NOTES.change(store, step)
    assert 9 not in values(store)[0]


def test_what_a_newer_version_wrote_reads_as_nothing_and_views_leave_it_alone(store):
    store.mark([Mark(key="turnout views", owner="all", ttl=60.0, value='{"another":"form"}')])
    assert saved(store) == []
    with pytest.raises(SchemaError, match="newer Turnout"):
        save(store, View(name="mine", query="state:dead"))
