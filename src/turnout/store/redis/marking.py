"""The verbs `mark` and `unmark`: one script each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout.limits.marks import ANY, Marked
from turnout.store.redis import scripts
from turnout.store.redis.enqueue import pack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.limits.marks import Mark
    from turnout.store.redis.connection import Link

_PARTS = 4  # of one mark in the answer


def mark(link: Link, marks: Sequence[Mark], at: str) -> list[Marked]:
    """Judge and keep marks, by the time `at` or the server's ("")."""
    parts = link.script(scripts.MARK, at, pack([_asked(one) for one in marks]))
    return [_answer(parts[n : n + _PARTS]) for n in range(0, len(parts), _PARTS)]


def unmark(link: Link, marks: Sequence[tuple[str, str]]) -> int:
    """Drop marks; return how many there were."""
    gone: int = link.script(scripts.UNMARK, pack(sorted(set(marks))))
    return gone


def _asked(mark: Mark) -> tuple[object, ...]:
    # Lua ends a list at its first nil: False stands for None.
    expect = True if mark.expect == ANY else False if mark.expect is None else mark.expect
    value = False if mark.value is None else mark.value
    return (mark.key, mark.owner, float(mark.ttl), mark.most, mark.chained, value, expect)


def _answer(parts: list[bytes | int]) -> Marked:
    granted, live, until, value = parts
    told = bytes(value).decode() if isinstance(value, bytes) else ""
    return Marked(
        granted=bool(granted),
        live=int(live),
        until=float(until) if until else None,
        value=told[1:] if told else None,
    )
