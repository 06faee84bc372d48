"""The verbs `mark` and `unmark`, for the stores whose tables a server keeps."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeVar
from zlib import crc32

from turnout.limits.marks import Held
from turnout.store.marking import checked, mark_in
from turnout.store.server.turn import Turn, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from turnout.limits.marks import Mark, Marked
    from turnout.store.marking import Pair, Row

T = TypeVar("T")
STRIPES = 256  # keys lock a row, or a number, of so many


class KeepsMarks(ABC):
    """What a server's store adds to its class for marks."""

    @abstractmethod
    def _write(self, verb: Callable[[Turn], T], now: float | None) -> T: ...

    def mark(self, marks: Sequence[Mark], *, now: float | None = None) -> list[Marked]:
        """Let owners hold limit keys; see the protocol."""
        asked = checked(marks)
        if not asked:
            return []
        return self._write(lambda turn: mark_in(_Table(turn, moves=now is None), asked), now)

    def unmark(self, marks: Sequence[tuple[str, str]]) -> int:
        """Drop marks; see the protocol."""
        if not marks:
            return 0
        text = encode([{"key": key, "owner": owner} for key, owner in sorted(set(marks))]).decode()
        return self._write(lambda turn: turn.do("mark_drop", text), 0.0)


class _Table:
    """The table of marks, within one transaction; its time `moves` unless the caller gave it."""

    def __init__(self, turn: Turn, *, moves: bool) -> None:
        self._turn = turn
        self._moves = moves
        self.now = turn.now

    def mark_begin(self, keys: Sequence[str]) -> dict[str, tuple[int, float]]:
        turn, names = self._turn, list(keys)
        asked = time.monotonic()
        # Sorted, so that two calls never wait for each other.
        turn.lock_stripes(sorted({crc32(key.encode()) % STRIPES for key in keys}))
        if self._moves:  # or a mark could be over before it is granted, after a long wait
            self.now += time.monotonic() - asked
        turn.do("mark_expire", names, self.now)
        found = turn.rows("mark_totals", names)
        return {text_of(key): (live, latest) for key, live, latest in found}

    def mark_held(self, pairs: Sequence[Pair]) -> dict[Pair, Held]:
        keys, owners = (list(column) for column in zip(*pairs, strict=True))
        found = self._turn.rows("mark_held", keys, owners)
        return {
            (text_of(key), text_of(owner)): Held(until, value) for key, owner, until, value in found
        }

    def mark_first(self, key: str, count: int) -> list[float]:
        return [row[0] for row in self._turn.rows("mark_first", key, count)]

    def mark_put(self, rows: Sequence[Row]) -> None:
        if rows:
            names = ("key", "owner", "until", "value")
            body = [dict(zip(names, row, strict=True)) for row in rows]
            self._turn.do("mark_put", encode(body).decode())


def text_of(stored: str | bytes) -> str:
    """Return a name; MySQL keeps it as bytes."""
    return stored.decode() if isinstance(stored, bytes) else stored
