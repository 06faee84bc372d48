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
from turnout.store.sqlite.base import Q, decode_ids, decode_trail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Execute = Callable[..., Any]

_LIVE = {State.QUEUED, State.RUNNING}
_JOB_COLUMNS = (
    "id, task, queue, args, priority, attempt, crashes, enqueued_at, run_at, expires_at, context, "
    "trail, unique_key"
)
_FINAL_COLUMNS = (
    _JOB_COLUMNS + ", state, started_at, finished_at, worker, error, reason, result, progress"
)


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
        sources.append(_traced(execute, where, after))
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
    query = f"SELECT {_JOB_COLUMNS} FROM turnout_job WHERE {sql} ORDER BY id DESC"  # noqa: S608
    for row in execute(query, values):
        lease = running.get(row[0])
        record = _record(row, State.RUNNING if lease else State.QUEUED, lease)
        if (
            record.state in wanted
            and (where.view is None or _in_view(record, where.view, now))
            and (where.error is None or _is_error(record.error, where.error))
        ):
            yield _with_side_rows(execute, record)


def _is_error(found: str | None, wanted: str) -> bool:
    return found is not None and wanted in {found, found.rpartition(".")[2]}


def _in_view(record: JobRecord, view: str, now: float) -> bool:
    ahead = record.run_at is not None and record.run_at > now
    if view == "retrying":
        return record.attempt > 0
    return ahead if view == "scheduled" else not ahead


def _record(
    row: tuple[Any, ...], state: State, lease: tuple[float, str] | None = None, **more: Any
) -> JobRecord:
    started_at, worker = lease or (None, None)
    more.setdefault("started_at", started_at)
    more.setdefault("worker", worker)
    trail = decode_trail(row[11]) if row[11] else None
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
            f"SELECT {_FINAL_COLUMNS} FROM turnout_final "  # noqa: S608
            f"WHERE state = ? AND {sql} ORDER BY id DESC"
        )
        for row in execute(query, [state, *values]):
            yield _record(
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

    states = [of_state(state) for state in sorted(wanted - _LIVE)]
    return heapq.merge(*states, key=lambda record: record.id, reverse=True)


def _traced(execute: Execute, where: JobFilter, after: JobId | None) -> Iterator[JobRecord]:
    """Yield plain successes, newest id first.

    Batches overlap in their ids. A batch whose last id lies below what is still held back cannot
    hold a newer one, so a heap of opened batches gives the exact order without opening them all.
    """
    held: list[tuple[str, int, JobRecord]] = []
    rows = _trace_rows(execute, where, after)
    serial = 0
    for queue, worker, last_id, body in rows:
        while held and _newest(held) > last_id:
            yield heapq.heappop(held)[2]
        for entry in msgspec.json.decode(body):
            record = _trace_record(entry, queue, worker)
            if _trace_matches(record, where, after):
                serial += 1
                heapq.heappush(held, (_reversed(record.id), serial, record))
    while held:
        yield heapq.heappop(held)[2]


def _trace_rows(
    execute: Execute, where: JobFilter, after: JobId | None
) -> Iterator[tuple[str, str, str, str]]:
    terms, values = ["1"], []
    low = min(where.ids, default=None)
    high = max(where.ids, default=None)
    for term, value in (
        ("first_id < ?", after),
        ("queue = ?", where.queue),
        ("last_id >= ?", low),
        ("first_id <= ?", high),
    ):
        if value is not None:
            terms.append(term)
            values.append(value)
    query = (
        "SELECT queue, worker, last_id, body FROM turnout_trace "  # noqa: S608
        f"WHERE {' AND '.join(terms)} ORDER BY last_id DESC"
    )
    return iter(execute(query, values))


_FLIP = str.maketrans("0123456789abcdef", "fedcba9876543210")


def _reversed(job_id: str) -> str:
    """Return a key that sorts the other way round, so that a min-heap yields the newest."""
    return job_id.translate(_FLIP)


def _newest(held: list[tuple[str, int, JobRecord]]) -> str:
    return held[0][2].id


def _trace_record(entry: list[Any], queue: str, worker: str) -> JobRecord:
    job_id, task, attempt, crashes, enqueued_at, run_at, priority, started_at, finished_at = entry
    return JobRecord(
        id=job_id,
        task=task,
        queue=queue,
        state=State.SUCCEEDED,
        priority=priority,
        attempt=attempt,
        crashes=crashes,
        enqueued_at=enqueued_at,
        run_at=run_at,
        started_at=started_at,
        finished_at=finished_at,
        worker=worker,
    )


def _trace_matches(record: JobRecord, where: JobFilter, after: JobId | None) -> bool:
    enqueued_at = record.enqueued_at or 0.0
    return (
        (after is None or record.id < after)
        and (not where.ids or record.id in where.ids)
        and (where.task is None or record.task == where.task)
        and (where.before is None or enqueued_at < where.before)
        and (where.since is None or enqueued_at >= where.since)
    )
