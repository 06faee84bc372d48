"""The verb `exchange`: what travels to the server's function, a column an array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from turnout.store.postgres.base import SEPARATOR, array, text_array
from turnout.store.server.outcomes import Batch, ending, trace_row
from turnout.store.server.turn import encode

if TYPE_CHECKING:
    from turnout.job import JobId, Want
    from turnout.store.server.marks import Mark


def settle_values(batch: Batch) -> tuple[Any, ...]:
    """Return what settling binds, from the fences to the others."""
    if not batch.outcomes:
        return (None,) * 11
    plain, others = batch.sort()
    traces = [trace_row(queue, keep, some) for (queue, keep), some in plain.items()]
    queues, *columns, bodies = zip(*traces, strict=True) if traces else [()] * 7
    return (
        *_leases(batch),
        text_array(queues),
        *map(array, columns),
        SEPARATOR.join(bodies),
        encode([ending(outcome) for outcome in others]).decode() if others else None,
    )


def _leases(batch: Batch) -> tuple[str, str, str]:
    leases = batch.leases()
    ends: list[int] = []
    ids: list[JobId] = []
    for held in leases.values():
        ids += held
        ends.append(len(ids))
    return array(leases), array(ends), array(ids)


def mark_values(marks: list[Mark], *, sweep: bool) -> tuple[Any, ...]:
    """Return what the claim binds for the marks."""
    queues, *columns = zip(*marks, strict=True) if marks else [()] * 4
    return (text_array(queues), *map(array, columns), sweep)


def want_values(want: Want) -> tuple[Any, ...]:
    """Return what the claim binds for the queues and their rooms."""
    queues, rooms = zip(*want.queues, strict=True) if want.queues else ((), ())
    return text_array(queues), array(rooms), want.limit
