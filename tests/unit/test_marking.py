"""Marks judged from a table, while others drop theirs between two looks at it."""

from __future__ import annotations

from turnout.limits.marks import Mark
from turnout.store.marking import mark_in


class Shrinking:
    """A table that counted three marks of a key, of which only one is left at the second look."""

    now = 100.0

    def __init__(self) -> None:
        self.kept = []

    def mark_begin(self, keys):
        return dict.fromkeys(keys, (3, 130.0))

    def mark_held(self, _pairs):
        return {}

    def mark_first(self, _key, count):
        return [130.0][:count]

    def mark_put(self, rows):
        self.kept += rows


def test_a_mark_that_was_dropped_meanwhile_makes_room_now():
    table = Shrinking()
    [answer] = mark_in(table, [Mark(key="k", owner="a", ttl=30, most=1)])
    assert (answer.granted, answer.until) == (False, 100.0)
    assert table.kept == []
