"""Kept metrics in a table, for every store that has tables: one row a step, a task and a queue.

One call is one transaction: it takes the lock of all metrics, looks whether this source's number
is known already, reads the steps of time that the rows fall into, and writes what comes out. A
repeated call, whose reply was lost, finds its number and changes nothing.

Invariant: a source's number only grows, and the rows of a number are counted once or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from turnout.errors import ConfigError
from turnout.metrics import KEPT, MOST_TASKS, OTHER, Measured, Spread, by_step

Slot = tuple[int, int]  # step, at
Row = tuple[int, int, str, str, str]  # step, at, task, queue, body
Pair = tuple[str, str]  # task, queue
SOURCES_KEPT = 86_400.0  # seconds for which a source's number is remembered


class Body(msgspec.Struct, array_like=True):
    """What a row holds, as JSON: [outcomes, [seconds run, buckets], [seconds waited, buckets]]."""

    outcomes: dict[str, int]
    run: Spread
    wait: Spread


_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(Body).decode


class MetricTable(Protocol):
    """What an adapter does to its tables, within one transaction of time `now`."""

    now: float

    def metric_begin(self, source: str, number: int) -> bool:
        """Lock the metrics and note the source's number; False when that is known already."""
        ...

    def metric_read(self, slots: Sequence[Slot]) -> Iterable[Row]:
        """Return all rows of these steps of time."""
        ...

    def metric_put(self, rows: Sequence[Row]) -> None:
        """Write rows over what was there."""
        ...


def record_in(table: MetricTable, source: str, number: int, rows: Sequence[Measured]) -> None:
    """Add rows to what is kept, unless this number of this source was; see the protocol."""
    if not table.metric_begin(source, number):
        return
    added = by_step(rows, table.now)
    known: dict[Slot, dict[Pair, str]] = {slot: {} for slot in added}
    for step, at, task, queue, body in table.metric_read(sorted(added)):
        known[step, at][task, queue] = body
    table.metric_put(
        [row for slot in sorted(added) for row in _grown(slot, added[slot], known[slot])]
    )


def _grown(slot: Slot, added: Mapping[Pair, Measured], known: Mapping[Pair, str]) -> list[Row]:
    """Return the rows of one step of time that change."""
    return [
        (
            *slot,
            *pair,
            body_of(row.plus(measured(slot[1], *pair, known[pair])) if pair in known else row),
        )
        for pair, row in bounded(added, known).items()
    ]


def bounded(added: Mapping[Pair, Measured], known: Mapping[Pair, object]) -> dict[Pair, Measured]:
    """Return what is added, with pairs that are too many under (OTHER, OTHER)."""
    kept: dict[Pair, Measured] = {}
    room = MOST_TASKS - len(known)
    for pair, row in added.items():
        if pair not in known:
            room -= 1
        name = pair if pair in known or room >= 0 else (OTHER, OTHER)
        kept[name] = kept[name].plus(row) if name in kept else row
    return kept


def body_of(row: Measured) -> str:
    """Return a row's numbers as they are stored."""
    return _encode(Body(row.outcomes, row.run, row.wait)).decode()


def measured(at: int, task: str, queue: str, body: str | bytes) -> Measured:
    """Return a stored row as a value."""
    found = _decode(body)
    return Measured(
        at=at, task=task, queue=queue, outcomes=found.outcomes, run=found.run, wait=found.wait
    )


def check_step(step: int) -> None:
    """Raise ConfigError for a step of time by which nothing is kept."""
    if step not in KEPT:
        msg = f"metrics are kept by steps of {', '.join(map(str, KEPT))} seconds, got {step!r}"
        raise ConfigError(msg)
