"""The verb `exchange`: what travels to the server's procedure and what comes back, all as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import astuple

from turnout.job import JobId, LeasedJob, State
from turnout.store.server.outcomes import Batch, ending, trace_row
from turnout.store.server.turn import encode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from turnout.job import Want
    from turnout.store.server.marks import Mark

_NOTHING: dict[str, Any] = dict.fromkeys(("leases", "plain", "back", "counts", "traces", "others"))
_NO_LEASE: dict[str, Any] = dict.fromkeys(("fence", "queues", "limit", "marks")) | {"sweep": 0}


class _Row(LeasedJob, array_like=True, frozen=True, gc=False):
    """A leased job as the server writes it."""


_decode_row = msgspec.json.Decoder(_Row).decode


def settle_values(batch: Batch) -> dict[str, Any]:
    """Return what settling binds."""
    if not batch.outcomes:
        return _NOTHING
    plain, others = batch.sort()
    counts: list[tuple[str, str, int]] = []
    for (queue, keep), outcomes in plain.items():
        n = len(outcomes)
        counts += [(queue, "running", -n), (queue, "finished", n)]
        if keep > 0:
            counts.append((queue, "succeeded", n))
    traces = [trace_row(queue, keep, some) for (queue, keep), some in plain.items() if keep > 0]
    back = [outcome.job.id for outcome in others if outcome.state is State.QUEUED]
    ids = sorted([outcome.job.id for outcomes in plain.values() for outcome in outcomes])
    return {
        "leases": _json([(fence, ",".join(ids)) for fence, ids in batch.leases().items()]),
        "plain": _json(ids),
        "back": _json(back),
        "counts": _json(counts),
        "traces": _json(traces),
        "others": _json([ending(outcome) for outcome in others]),
    }


def lease_values(
    fence: int, want: Want | None, marks: list[Mark], *, sweep: bool
) -> dict[str, Any]:
    """Return what leasing binds."""
    if want is None:
        return _NO_LEASE
    return {
        "fence": fence,
        "queues": _json(list(want.queues)),
        "limit": want.limit,
        "marks": _json(marks),
        "sweep": int(sweep),
    }


def _json(values: list[Any]) -> str | None:
    return encode(values).decode() if values else None


class Answer:
    """The rows (what, text) that the procedure returned."""

    def __init__(self, rows: Iterable[tuple[str | int, str | None]]) -> None:
        leased: list[tuple[int, str]] = []
        self.remarks: list[tuple[JobId, str]] = []
        self.lost = False
        for first, text in rows:
            what = str(first)
            if what.isdigit() and text is not None:
                leased.append((int(what), text))
            elif what == "lost":
                self.lost = True
            elif text:
                self.remarks += [(JobId(job_id), what) for job_id in text.split(",")]
        leased.sort()
        self.leased = [LeasedJob(*astuple(_decode_row(text))) for _, text in leased]
