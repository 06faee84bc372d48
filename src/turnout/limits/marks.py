"""Marks: the one primitive under all limits, a row (key, owner) in the store that expires.

    absent --granted--> held --again by its owner: renewed--> held --its time passed--> absent
                          |                                                               ^
                          +--------------------------- unmark ----------------------------+

At most `most` marks of a key are live. What a mark means is the policy's business:

    a concurrency limit of n   most=n, renewed while the job runs, unmarked when it ends
    n starts in any s seconds  most=n, ttl=s, never unmarked: it is the log of a sliding window
    a token bucket             most=burst, ttl=seconds a token takes, chained: the next token is
                               back a ttl after the one before it, so live marks are missing tokens
    a shared value             most=1, with `expect`: compare and set, for a breaker's state

Every store counts for itself and asks `judge`, so that all of them mean the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from turnout.limits.faults import key_faults, number_faults, refuse, whole_faults

__all__ = ["ANY", "Held", "Mark", "Marked", "View", "by_owner", "check_marks", "judge"]

ANY: Final = "\0any"  # no value that a store can hold
MAX_MARKS = 1_000  # of one call
MAX_VALUE = 10_000  # characters
MAX_NAME = 250  # characters of a key or an owner: a limit's key, and what it is the key of


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the store: let `owner` hold `key` for `ttl` seconds.

    `most=0` asks for nothing and tells how things stand. `chained`: the time begins where the
    latest live mark of this key ends. `expect` is the value last seen (None: no mark of this owner)
    and makes the mark depend on it still being there; ANY asks nothing.
    """

    key: str
    owner: str
    ttl: float
    most: int = 1
    chained: bool = False
    value: str | None = None
    expect: str | None = ANY


class Marked(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one `Mark`.

    `live` counts the key's marks, this one included when granted. `until` is when a granted mark
    expires, or when a refused one may be granted (None: nobody knows). `value` is what the owner's
    mark holds now. `away`: nobody could be asked; the rest says nothing then.
    """

    granted: bool
    live: int
    until: float | None = None
    value: str | None = None
    away: bool = False


class Held(msgspec.Struct, frozen=True):
    """One live mark of a key."""

    until: float
    value: str | None = None


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What a store knows of a key's live marks, in numbers.

    `latest` is the last expiry among them, `frees_at` the moment at which fewer than the asked
    `most` are left; both None when that means nothing. `own` is the asking owner's.
    """

    live: int
    latest: float | None = None
    frees_at: float | None = None
    own: Held | None = None


def judge(view: View, mark: Mark, now: float) -> Marked:
    """Say whether `mark` is granted, given the key's live marks at `now`.

    An owner that holds the key already is granted it again, whatever `most` says; a chained mark
    then keeps its time, so that a repeated call takes no second token.
    """
    own = view.own
    seen = None if own is None else own.value
    if mark.most == 0 or mark.expect not in (ANY, seen):
        return Marked(granted=False, live=view.live, until=view.frees_at, value=seen)
    if own is not None:
        until = own.until if mark.chained else now + mark.ttl
        return Marked(granted=True, live=view.live, until=until, value=mark.value)
    if view.live >= mark.most:
        return Marked(granted=False, live=view.live, until=view.frees_at)
    begin = max(now, view.latest or now) if mark.chained else now
    return Marked(granted=True, live=view.live + 1, until=begin + mark.ttl, value=mark.value)


def by_owner(
    marks: Sequence[Mark],
    look: Callable[[Mark], View],
    write: Callable[[Mark, Held], None],
    now: float,
) -> list[Marked]:
    """Judge marks in order, those of one owner all or none; answers in the same order.

    `look` returns a key's view and `write` keeps a granted mark. A job that needs two
    limits and gets one would otherwise hold it for nothing.
    """
    answers: list[Marked] = []
    start = 0
    while start < len(marks):
        end = start + 1
        while end < len(marks) and marks[end].owner == marks[start].owner:
            end += 1
        answers += _together(marks[start:end], look, write, now)
        start = end
    return answers


def _together(
    marks: Sequence[Mark],
    look: Callable[[Mark], View],
    write: Callable[[Mark, Held], None],
    now: float,
) -> list[Marked]:
    views = [look(mark) for mark in marks]
    answers = [judge(view, mark, now) for view, mark in zip(views, marks, strict=True)]
    if not all(answer.granted for answer in answers):
        return [_withdrawn(a, v) if a.granted else a for a, v in zip(answers, views, strict=True)]
    for mark, answer in zip(marks, answers, strict=True):
        write(mark, Held(answer.until or now, mark.value))
    return answers


def _withdrawn(answer: Marked, view: View) -> Marked:
    """Return the answer to a mark that could be granted, had not another of its owner failed."""
    value = None if view.own is None else view.own.value
    return msgspec.structs.replace(answer, granted=False, live=view.live, until=None, value=value)


def check_marks(marks: Sequence[Mark]) -> None:
    """Raise ConfigError with every fault of `marks`; a store calls this where they enter."""
    faults: list[str] = []
    if len(marks) > MAX_MARKS:
        faults.append(f"one call takes {MAX_MARKS:,} marks at most, got {len(marks):,}")
    seen: set[tuple[str, str]] = set()
    for mark in marks:
        faults += _mark_faults(mark)
        if (mark.key, mark.owner) in seen:
            faults.append(f"{mark.owner!r:.80} asks twice for {mark.key!r:.80} in one call")
        seen.add((mark.key, mark.owner))
    refuse("mark", faults[:20])


def _mark_faults(mark: Mark) -> list[str]:
    faults = key_faults(mark.key, MAX_NAME) + whole_faults("most", mark.most, 0)
    faults += [fault.replace("key", "owner", 1) for fault in key_faults(mark.owner, MAX_NAME)]
    faults += number_faults("ttl", mark.ttl)
    if mark.value is not None and len(mark.value) > MAX_VALUE:
        faults.append(f"value has {len(mark.value):,} characters, {MAX_VALUE:,} are the most")
    if mark.value is not None and "\0" in mark.value:
        faults.append("value holds NUL, which not every store can keep")
    return faults
