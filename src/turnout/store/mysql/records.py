"""The verb `find`: rows of three places back into one kind of record.

A job is in `job` while it is queued or running, in `final` once it ended with something to tell,
and in a row of `trace` when it simply succeeded. Each place is read newest id first, by keyset and
a page at a time, and all are merged.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import msgspec

from turnout.job import JobFilter, JobId, JobRecord, State
from turnout.store.rows import FINAL_COLUMNS, JOB_COLUMNS, final_record, is_error, job_record
from turnout.store.server.turn import side_rows
from turnout.store.trace import bounds, read_traces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from turnout.store.server.turn import Turn

    Held = dict[JobId, tuple[float, str]]

_LIVE = {State.QUEUED, State.RUNNING}
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
    if wanted & _LIVE:
        sources.append(_live(turn, where, wanted, after))
    sources += [_final(turn, where, state, after) for state in sorted(wanted - _LIVE)]
    if State.SUCCEEDED in wanted and where.error is None:
        sources.append(read_traces(_trace_rows(turn, where, after), where, after))
    found: list[JobRecord] = []
    for record in heapq.merge(*sources, key=lambda record: record.id, reverse=True):
        if len(found) >= limit:
            break
        found.append(record)
    return found


def _conditions(where: JobFilter) -> tuple[list[str], list[object]]:
    terms: list[tuple[str, object]] = [("%s", 1)]
    if where.queue is not None:
        terms.append(("queue = %s", where.queue))
    if where.task is not None:
        terms.append(("task = %s", where.task))
    if where.before is not None:
        terms.append(("enqueued_at < %s", where.before))
    if where.since is not None:
        terms.append(("enqueued_at >= %s", where.since))
    if where.ids:
        terms.append(("id IN %s", tuple(where.ids)))
    return [term for term, _ in terms], [value for _, value in terms]


def _pages(
    turn: Turn, select: str, where: tuple[list[str], list[object]], after: JobId | None
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield pages of rows, newest id first; the next is asked for when the last is used up."""
    terms, values = where
    while True:
        last = [] if after is None else [after]
        sql = " AND ".join([*terms, *["id < %s" for _ in last]])
        rows = turn.select(f"{select} WHERE {sql} ORDER BY id DESC LIMIT {_PAGE}", [*values, *last])
        yield rows
        if len(rows) < _PAGE:
            return
        after = rows[-1][0]


def _running(turn: Turn) -> Held:
    held: Held = {}
    for ids, leased_at, worker in turn.rows("running"):
        held.update(dict.fromkeys(turn.ids_read(ids), (leased_at, worker)))
    return held


def _live(
    turn: Turn, where: JobFilter, wanted: set[State], after: JobId | None
) -> Iterator[JobRecord]:
    terms, values = _conditions(where)
    held = _running(turn)
    if State.QUEUED not in wanted:
        # Few are running, millions may be queued: name them, do not walk past the others.
        terms.append("id IN %s")
        values.append(tuple(held) or (None,))
    if where.view in ("scheduled", "ready"):
        terms.append("run_at > %s" if where.view == "scheduled" else "run_at <= %s")
        values.append(turn.now)
    if where.view == "retrying":
        terms.append("attempt > 0")
    if where.error is not None:  # the trail holds it, among much else
        terms.append("LOCATE(%s, trail) > 0")
        values.append(where.error)
    select = f"SELECT {JOB_COLUMNS} FROM turnout.job"  # noqa: S608
    for rows in _pages(turn, select, (terms, values), after):
        yield from _page(turn, rows, held, where, wanted)


def _page(
    turn: Turn, rows: list[tuple[Any, ...]], held: Held, where: JobFilter, wanted: set[State]
) -> Iterator[JobRecord]:
    """Yield those of a page that match, with their progress and the wish that they stop."""
    records: list[JobRecord] = []
    for row in rows:
        lease = held.get(row[0])
        record = job_record(row, State.RUNNING if lease else State.QUEUED, lease)
        if record.state in wanted and (where.error is None or is_error(record.error, where.error)):
            records.append(record)
    sides = side_rows(turn, [record.id for record in records])
    for record in records:
        beside = sides.get(record.id)
        yield msgspec.structs.replace(record, **beside) if beside else record


def _final(turn: Turn, where: JobFilter, state: State, after: JobId | None) -> Iterator[JobRecord]:
    terms, values = _conditions(where)
    terms.append("state = %s")
    values.append(state.value)
    if where.error is not None:
        # By its whole name, or by the last part alone.
        terms.append(
            "(error = %s OR (LOCATE('.', %s) = 0 AND SUBSTRING_INDEX(error, '.', -1) = %s))"
        )
        values += [where.error] * 3
    select = f"SELECT {FINAL_COLUMNS} FROM turnout.final"  # noqa: S608
    for rows in _pages(turn, select, (terms, values), after):
        yield from map(final_record, rows)


def _trace_rows(
    turn: Turn, where: JobFilter, after: JobId | None
) -> Iterator[tuple[str, str, str, str]]:
    terms, values = bounds(where, after, "%s")
    terms.append("%s")
    values.append(1)
    last: list[object] = []
    while True:
        # Not (last_id, n) < (...): that is no range to this optimizer.
        more = ["last_id <= %s AND (last_id < %s OR n < %s)"] if last else []
        rows = turn.select(
            "SELECT queue, worker, last_id, body, n FROM turnout.trace "  # noqa: S608
            f"WHERE {' AND '.join([*terms, *more])} "
            f"ORDER BY last_id DESC, n DESC LIMIT {_FEW_BATCHES}",
            [*values, *last],
        )
        for row in rows:
            yield row[:4]
        if len(rows) < _FEW_BATCHES:
            return
        last = [rows[-1][2], rows[-1][2], rows[-1][4]]
