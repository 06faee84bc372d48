"""The verb `find`: rows of five places back into one kind of record.

A job is in `ready` or `scheduled` while it is queued, in a `lease` while it runs, in `final` once
it ended with something to tell, and in a row of `trace` when it simply succeeded. Each place is
read newest id first, by keyset and a page at a time, and all are merged.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import msgspec

from turnout.job import JobFilter, JobId, JobRecord, State
from turnout.store.postgres.base import Turn, decode_trail

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIVE = {State.QUEUED, State.RUNNING}
_JOB_COLUMNS = (
    "id, task, queue, args, -rank, attempt, crashes, enqueued_at, run_at, expires_at, context, "
    "trail, unique_key"
)
_FINAL_COLUMNS = (
    _JOB_COLUMNS + ", state, started_at, finished_at, worker, error, reason, result, progress"
)
_PAGE = 200
_FEW_BATCHES = 20


def find(
    turn: Turn, where: JobFilter, *, limit: int, after: JobId | None = None
) -> list[JobRecord]:
    """Return matching records, newest id first, all older than `after`."""
    wanted = set(where.states) if where.states else set(State)
    if where.view is not None:
        wanted &= {State.QUEUED}
    sources: list[Iterator[JobRecord]] = []
    if State.QUEUED in wanted:
        sources += [_queued(turn, place, where, after) for place in ("ready", "scheduled")]
    if State.RUNNING in wanted:
        sources.append(_running(turn, where, after))
    if wanted - _LIVE:
        sources += [_final(turn, where, state, after) for state in sorted(wanted - _LIVE)]
    if State.SUCCEEDED in wanted and where.error is None:
        sources.append(_traced(turn, where, after))
    found: list[JobRecord] = []
    for record in heapq.merge(*sources, key=lambda record: record.id, reverse=True):
        if len(found) >= limit:
            break
        found.append(record)
    return found


def _conditions(where: JobFilter) -> tuple[list[str], list[object]]:
    terms: list[tuple[str, object]] = []
    if where.queue is not None:
        terms.append(("queue = %s", where.queue))
    if where.task is not None:
        terms.append(("task = %s", where.task))
    if where.before is not None:
        terms.append(("enqueued_at < %s", where.before))
    if where.since is not None:
        terms.append(("enqueued_at >= %s", where.since))
    if where.ids:
        terms.append(("id = ANY (%s::uuid[])", list(where.ids)))
    return [term for term, _ in terms], [value for _, value in terms]


def _pages(
    turn: Turn, select: str, where: tuple[list[str], list[object]], after: JobId | None
) -> Iterator[tuple[Any, ...]]:
    """Yield rows newest id first; the next page is asked for when the last is used up."""
    terms, values = where
    while True:
        last = [] if after is None else [after]
        sql = " AND ".join([*terms, *["id < %s" for _ in last]]) or "true"
        query = turn.sql(f"{select} WHERE {sql} ORDER BY id DESC LIMIT {_PAGE}")
        rows = turn.run(query, [*values, *last]).fetchall()
        yield from rows
        if len(rows) < _PAGE:
            return
        after = rows[-1][0]


def _queued(turn: Turn, place: str, where: JobFilter, after: JobId | None) -> Iterator[JobRecord]:
    terms, values = _conditions(where)
    if where.view in ("scheduled", "ready"):
        terms.append("run_at > %s" if where.view == "scheduled" else "run_at <= %s")
        values.append(turn.now)
    if where.view == "retrying":
        terms.append("attempt > 0")
    select = f"SELECT {_JOB_COLUMNS} FROM turnout.{place}"  # noqa: S608
    for row in _pages(turn, select, (terms, values), after):
        record = _record(row, State.QUEUED)
        if where.error is None or _is_error(record.error, where.error):
            yield _with_side_rows(turn, record)


def _running(turn: Turn, where: JobFilter, after: JobId | None) -> Iterator[JobRecord]:
    """Yield what runs: as many as the workers have slots, whatever waits."""
    held = {row[0]: row[1:] for row in turn.rows("running")}
    terms, values = _conditions(where)
    if after is not None:
        terms.append("id < %s")
        values.append(after)
    terms.append("id = ANY (%s::uuid[])")
    values.append(list(held))
    query = turn.sql(
        f"SELECT {_JOB_COLUMNS} FROM turnout.lease l, unnest(l.jobs) j "  # noqa: S608
        f"WHERE j.id = ANY (l.ids) AND {' AND '.join('j.' + term for term in terms)} "
        "ORDER BY id DESC"
    )
    for row in turn.run(query, values).fetchall():
        record = _record(row, State.RUNNING, held.get(row[0]))
        if where.error is None or _is_error(record.error, where.error):
            yield _with_side_rows(turn, record)


def _is_error(found: str | None, wanted: str) -> bool:
    return found is not None and wanted in {found, found.rpartition(".")[2]}


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


def _with_side_rows(turn: Turn, record: JobRecord) -> JobRecord:
    [(progress, cancel)] = turn.rows("side_rows", record.id, record.id)
    if progress is None and not cancel:
        return record
    return msgspec.structs.replace(record, progress=progress, cancel_requested=cancel)


def _final(turn: Turn, where: JobFilter, state: State, after: JobId | None) -> Iterator[JobRecord]:
    terms, values = _conditions(where)
    terms.append("state = %s")
    values.append(state.value)
    if where.error is not None:
        # By its whole name, or by the last part alone.
        # split_part takes a field from the end only since PostgreSQL 14
        last = "substring(error from '[^.]*$')"
        terms.append(f"(error = %s OR (strpos(%s, '.') = 0 AND {last} = %s))")
        values += [where.error] * 3
    select = f"SELECT {_FINAL_COLUMNS} FROM turnout.final"  # noqa: S608
    for row in _pages(turn, select, (terms, values), after):
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


def _traced(turn: Turn, where: JobFilter, after: JobId | None) -> Iterator[JobRecord]:
    """Yield plain successes, newest id first.

    Batches overlap in their ids. A batch whose last id lies below what is still held back cannot
    hold a newer one, so a heap of opened batches gives the exact order without opening them all.
    """
    held: list[tuple[str, int, JobRecord]] = []
    rows = _trace_rows(turn, where, after)
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
    turn: Turn, where: JobFilter, after: JobId | None
) -> Iterator[tuple[str, str, str, str]]:
    terms, values = ["true"], []
    for term, value in (
        ("first_id < %s", after),
        ("queue = %s", where.queue),
        ("last_id >= %s", min(where.ids, default=None)),
        ("first_id <= %s", max(where.ids, default=None)),
    ):
        if value is not None:
            terms.append(term)
            values.append(value)
    last: list[object] = []
    while True:
        sql = " AND ".join([*terms, *(["(last_id, n) < (%s, %s)"] if last else [])])
        query = turn.sql(
            "SELECT queue, worker, last_id, body, n FROM turnout.trace "  # noqa: S608
            f"WHERE {sql} ORDER BY last_id DESC, n DESC LIMIT {_FEW_BATCHES}"
        )
        rows = turn.run(query, [*values, *last]).fetchall()
        for row in rows:
            yield row[:4]
        if len(rows) < _FEW_BATCHES:
            return
        last = [rows[-1][2], rows[-1][4]]


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
