"""Rows back into records: the columns that every store with tables reads, in one order."""

from __future__ import annotations

from typing import Any

import msgspec

from turnout.job import JobRecord, State, Trail

JOB_COLUMNS = (
    "id, task, queue, args, priority, attempt, crashes, enqueued_at, run_at, expires_at, context, "
    "trail, unique_key"
)
FINAL_COLUMNS = (
    JOB_COLUMNS + ", state, started_at, finished_at, worker, error, reason, result, progress"
)

_decode_trail = msgspec.json.Decoder(Trail).decode


def job_record(
    row: tuple[Any, ...], state: State, lease: tuple[float, str] | None = None, **more: Any
) -> JobRecord:
    """Return the record of a row of JOB_COLUMNS; `lease` tells since when it runs, and where."""
    started_at, worker = lease or (None, None)
    more.setdefault("started_at", started_at)
    more.setdefault("worker", worker)
    trail = _decode_trail(row[11]) if row[11] else None
    attempts = trail.attempts if trail else ()
    if "error" not in more and attempts and row[5]:
        more["error"] = attempts[-1].error
    return JobRecord(
        id=row[0],
        task=row[1],
        queue=row[2],
        args=row[3],
        priority=row[4],
        attempt=row[5],
        crashes=row[6],
        enqueued_at=row[7],
        run_at=row[8],
        expires_at=row[9],
        context=row[10],
        unique_key=row[12],
        state=state,
        attempts=attempts,
        **more,
    )


def final_record(row: tuple[Any, ...]) -> JobRecord:
    """Return the record of a row of FINAL_COLUMNS."""
    return job_record(
        row,
        State(row[13]),
        started_at=row[14],
        finished_at=row[15],
        worker=row[16],
        error=row[17],
        reason=row[18],
        result=row[19],
        progress=row[20],
    )


def is_error(found: str | None, wanted: str) -> bool:
    """Tell whether an exception's qualified name is meant by `wanted`: whole, or its last part."""
    return found is not None and wanted in {found, found.rpartition(".")[2]}
