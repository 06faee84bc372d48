"""The stacks of a worker's running jobs, as it last told them: kept in the store for ten minutes.

They are the values of a few marks under a key of the worker's epoch, cut to what fits there. They
name files, lines and functions, and show lines of code; no argument and no other value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from turnout.limits.marks import MAX_VALUE, Mark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.store.protocol import Store

PARTS = 6
KEPT = 600.0
LONGEST = 6_000  # characters of one stack; the outermost calls are left out
_ROOM = MAX_VALUE - 200


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """Where one running job stands. `text` is "" where nobody can look, such as into a child."""

    job: str
    task: str
    started_at: float
    text: str


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker told at one moment; `left_out` jobs found no room."""

    at: float
    stacks: tuple[Stack, ...] = ()
    left_out: int = 0


def keep(store: Store, epoch: str, at: float, stacks: Sequence[Stack]) -> None:
    """Write a worker's stacks over those before. Raises StoreError."""
    parts, left_out = _packed(stacks)
    told = [Told(at=at, stacks=tuple(part), left_out=left_out) for part in parts]
    marks = [
        Mark(key=_key(epoch), owner=f"part {n}", ttl=KEPT, most=PARTS,
             value=msgspec.json.encode(one).decode())
        for n, one in enumerate(told)
    ]  # fmt: skip
    store.mark(marks)


def read(store: Store, epoch: str) -> Told | None:
    """Return what a worker told last, if that is still kept. Raises StoreError."""
    asked = [Mark(key=_key(epoch), owner=f"part {n}", ttl=KEPT, most=0) for n in range(PARTS)]
    values = [answer.value for answer in store.mark(asked)]
    parts = [msgspec.json.decode(one, type=Told) for one in values if one is not None]
    if not parts:
        return None
    newest = max(part.at for part in parts)
    parts = [part for part in parts if part.at == newest]  # the rest is of an earlier telling
    stacks = tuple(stack for part in parts for stack in part.stacks)
    return Told(at=newest, stacks=stacks, left_out=parts[0].left_out)


def _key(epoch: str) -> str:
    return f"turnout stacks {epoch}"


def _packed(stacks: Sequence[Stack]) -> tuple[list[list[Stack]], int]:
    """Return the stacks by parts, and how many found no room."""
    parts: list[list[Stack]] = [[]]
    used = left_out = 0
    for stack in stacks:
        size = len(msgspec.json.encode(stack).decode()) + 1
        if used + size > _ROOM and len(parts) < PARTS:
            parts.append([])
            used = 0
        if used + size > _ROOM:
            left_out += 1
            continue
        parts[-1].append(stack)
        used += size
    return parts, left_out
