"""The verb `find`: rows of three places back into one kind of record.

A job is in `turnout_job` while it is queued or running, in `turnout_final` once it ended with
something to tell, and in a row of `turnout_trace` when it simply succeeded. Each place is read
newest id first, by keyset, and the three are merged.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import msgspec

from turnout.job import JobFilter, JobId, JobRecord, State
from turnout.store.rows import FINAL_COLUMNS, JOB_COLUMNS, final_record, is_error, job_record
from turnout.store.sqlite.base import Q, decode_ids
from turnout.store.trace import bounds, read_traces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Execute = Callable[..., Any]

_LIVE = {State.QUEUED, State.RUNNING}


def find(
    execute: Execute, where: JobFilter, *, limit: int, after: JobId | None, now: float
) -> list[JobRecord]:
    """Return matching records, newest id first, all older than `after`."""
    wanted = set(where.states) if where.states else set(State)
    if where.view is not None:
        wanted &= {State.QUEUED}
    sources: list[Iterator[JobRecord]] = []
    if wanted & _LIVE:
        sources.append(_live(execute, where, wanted, after, now))
    if wanted - _LIVE:
        sources.append(_final(execute, where, wanted, after))
    if State.SUCCEEDED in wanted and where.error is None:
        sources.append(read_traces(_trace_rows(execute, where, after), where, after))
    found: list[JobRecord] = []
    for record in heapq.merge(*sources, key=lambda record: record.id, reverse=True):
        if len(found) >= limit:
            break
        found.append(record)
    return found


def running_jobs(execute: Execute) -> dict[JobId, tuple[float, str]]:
    """Return which jobs are leased, since when and by which worker."""
    running: dict[JobId, tuple[float, str]] = {}
    for _fence, epoch, leased_at, ids, info in execute(Q["all_leases"]).fetchall():
        name = (msgspec.json.decode(info) if info else {}).get("name", epoch)
        running.update(dict.fromkeys(decode_ids(ids), (leased_at, name)))
    return running


def _conditions(where: JobFilter, after: JobId | None) -> tuple[str, list[object]]:
    terms: list[tuple[str, object]] = []
    if after is not None:
        terms.append(("id < ?", after))
    if where.queue is not None:
        terms.append(("queue = ?", where.queue))
    if where.task is not None:
        terms.append(("task = ?", where.task))
    if where.before is not None:
        terms.append(("enqueued_at < ?", where.before))
    if where.since is not None:
        terms.append(("enqueued_at >= ?", where.since))
    if where.ids:
        text = msgspec.json.encode(where.ids).decode()
        terms.append(("id IN (SELECT value FROM json_each(?))", text))
    sql = " AND ".join(term for term, _ in terms) or "1"
    return sql, [value for _, value in terms]


def _live(
    execute: Execute, where: JobFilter, wanted: set[State], after: JobId | None, now: float
) -> Iterator[JobRecord]:
    sql, values = _conditions(where, after)
    running = running_jobs(execute)
    if State.QUEUED not in wanted:
        # Few are running, millions may be queued: name them, do not walk past the others.
        sql += " AND id IN (SELECT value FROM json_each(?))"
        values.append(msgspec.json.encode(list(running)).decode())
    if where.view == "scheduled":
        sql += " AND run_at > ?"
        values.append(now)
    query = f"SELECT {JOB_COLUMNS} FROM turnout_job WHERE {sql} ORDER BY id DESC"  # noqa: S608
    for row in execute(query, values):
        lease = running.get(row[0])
        record = job_record(row, State.RUNNING if lease else State.QUEUED, lease)
        if (
            record.state in wanted
            and (where.view is None or _in_view(record, where.view, now))
            and (where.error is None or is_error(record.error, where.error))
        ):
            yield _with_side_rows(execute, record)


def _in_view(record: JobRecord, view: str, now: float) -> bool:
    ahead = record.run_at is not None and record.run_at > now
    if view == "retrying":
        return record.attempt > 0
    return ahead if view == "scheduled" else not ahead


def _with_side_rows(execute: Execute, record: JobRecord) -> JobRecord:
    progress = execute(Q["progress_row"], (record.id,)).fetchone()
    cancel = execute(Q["cancel_row"], (record.id,)).fetchone()
    if progress is None and cancel is None:
        return record
    return msgspec.structs.replace(
        record, progress=progress[0] if progress else None, cancel_requested=cancel is not None
    )


def _final(
    execute: Execute, where: JobFilter, wanted: set[State], after: JobId | None
) -> Iterator[JobRecord]:
    sql, values = _conditions(where, after)
    if where.error is not None:
        # By its whole name, or by the last part alone.
        last = "" if "." in where.error else "." + where.error
        sql += " AND (error = ? OR (? <> '' AND substr(error, -length(?)) = ?))"
        values += [where.error, last, last, last]

    def of_state(state: State) -> Iterator[JobRecord]:
        query = (
            f"SELECT {FINAL_COLUMNS} FROM turnout_final "  # noqa: S608
            f"WHERE state = ? AND {sql} ORDER BY id DESC"
        )
        for row in execute(query, [state, *values]):
            yield final_record(row)

    states = [of_state(state) for state in sorted(wanted - _LIVE)]
    return heapq.merge(*states, key=lambda record: record.id, reverse=True)


def _trace_rows(
    execute: Execute, where: JobFilter, after: JobId | None
) -> Iterator[tuple[str, str, str, str]]:
    terms, values = bounds(where, after, "?")
    terms.append("1")
    query = (
        "SELECT queue, worker, last_id, body FROM turnout_trace "  # noqa: S608
        f"WHERE {' AND '.join(terms)} ORDER BY last_id DESC"
    )
    return iter(execute(query, values))
