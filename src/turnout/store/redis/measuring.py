"""The verbs `record_metrics` and `metrics`: a script that adds, and plain reads of hashes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from turnout.metrics import KEPT, MOST_TASKS, Measured, by_step, check_rows
from turnout.store.measuring import body_of, check_step, measured
from turnout.store.redis import scripts
from turnout.store.redis.enqueue import pack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.store.redis.connection import Link

_SPARE = 3_600  # seconds for which a step outlives its keeping: `at` is its beginning


def record(link: Link, source: str, number: int, rows: Sequence[Measured], now: float) -> None:
    """Add rows to what is kept, once."""
    check_rows(rows)
    slots = [
        (step, at, _left(step, at, now), *((*pair, body_of(row)) for pair, row in added.items()))
        for (step, at), added in sorted(by_step(rows, now).items())
    ]
    link.script(scripts.MEASURE, source, number, MOST_TASKS, pack(slots))


def _left(step: int, at: int, now: float) -> int:
    """Return for how many seconds a step of time is kept, 0 for ever."""
    return math.ceil(at + step + KEPT[step] - now) + _SPARE if step else 0


def read(link: Link, step: int, since: float, task: str | None) -> list[Measured]:
    """Return the kept rows of a step of time, in order."""
    check_step(step)
    times = [
        int(at) for at in link.run("ZRANGEBYSCORE", f"turnout:metrics:{step}", int(since), "+inf")
    ]
    hashes = link.several(*(("HGETALL", f"turnout:metric:{step}:{at}") for at in times))
    found = [
        row
        for at, parts in zip(times, hashes, strict=True)
        for row in _rows(at, parts)
        if task in (None, row.task)
    ]
    return sorted(found, key=lambda row: (row.at, row.task, row.queue))


def _rows(at: int, parts: list[bytes]) -> list[Measured]:
    found = []
    for field, body in zip(parts[::2], parts[1::2], strict=True):
        task, _, queue = field.decode().partition("\0")
        found.append(measured(at, task, queue, body))
    return found


def prune(link: Link, now: float) -> None:
    """Forget the times of what has expired, and delete it where another clock made it."""
    for step, kept in KEPT.items():
        if not step:
            continue
        times = f"turnout:metrics:{step}"
        gone = link.run("ZRANGEBYSCORE", times, "-inf", f"({int(now - kept)}", "LIMIT", 0, 1_000)
        if gone:
            keys = [f"turnout:metric:{step}:{at.decode()}" for at in gone]
            link.several(("ZREM", times, *gone), ("DEL", *keys))
