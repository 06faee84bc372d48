"""The verb `exchange`: what travels to the server's function, a column an array."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from turnout.store.server.outcomes import Batch, ending, trace_row
from turnout.store.server.turn import encode

if TYPE_CHECKING:
    from turnout.job import JobId
    from turnout.store.server.marks import Mark


def settle_values(batch: Batch) -> tuple[Any, ...]:
    """Return what settling binds, from the fences to the others."""
    if not batch.outcomes:
        return (None,) * 13
    plain, others = batch.sort()
    counts: Counter[str] = Counter()
    for (queue, _), outcomes in plain.items():
        counts[queue] += len(outcomes)
    traces = [trace_row(queue, keep, some) for (queue, keep), some in plain.items() if keep > 0]
    columns = [list(column) for column in zip(*traces, strict=True)] or [[]] * 7
    text = encode([ending(outcome) for outcome in others]).decode() if others else None
    return (*_leases(batch), list(counts), list(counts.values()), *columns, text)


def _leases(batch: Batch) -> tuple[list[int], list[int], list[JobId]]:
    leases = batch.leases()
    ends: list[int] = []
    ids: list[JobId] = []
    for held in leases.values():
        ids += held
        ends.append(len(ids))
    return list(leases), ends, ids


def mark_values(marks: list[Mark], *, sweep: bool) -> tuple[Any, ...]:
    """Return what the claim binds for the marks."""
    columns = [list(column) for column in zip(*marks, strict=True)] or [[], [], [], []]
    return (*columns, sweep)
