"""The verb `find`: rows of five places back into one kind of record.

A job is in `ready` or `scheduled` while it is queued, in a `lease` while it runs, in `final` once
it ended with something to tell, and in a row of `trace` when it simply succeeded. Each place is
read newest id first, by keyset and a page at a time, and all are merged.
"""

from __future__ import annotations

import heapq
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from turnout.job import JobFilter, JobId, JobRecord, State
from turnout.store.postgres.base import Turn
from turnout.store.rows import FINAL_COLUMNS, JOB_COLUMNS, final_record, is_error, job_record
from turnout.store.server.turn import side_rows
from turnout.store.trace import bounds, read_traces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    _Row = tuple[Any, ...]
    _Where = tuple[list[str], list[object]]  # conditions, and the values in them
    _Pages = Callable[[Turn, str, _Where, JobId | None], Iterator[list[_Row]]]

_LIVE = {State.QUEUED, State.RUNNING}
_JOBS = JOB_COLUMNS.replace("priority", "-rank")
_FINALS = FINAL_COLUMNS.replace("priority", "-rank")
_PAGE = 200
_FEW_BATCHES = 20
_AHEAD = "uuid_send(id) >= uuid_send(%s::uuid)"
_NEAR, _FAR = 5_000, 5_000  # rows that a page looks through, ids that are taken down at once


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
        sources.append(read_traces(_trace_rows(turn, where, after), where, after))
    found: list[JobRecord] = []
    for record in heapq.merge(*sources, key=lambda record: record.id, reverse=True):
        if len(found) >= limit:
            break
        found.append(record)
    return found


def _conditions(where: JobFilter) -> _Where:
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


def _pages(turn: Turn, select: str, where: _Where, after: JobId | None) -> Iterator[list[_Row]]:
    """Yield pages of rows, newest id first; the next is asked for when the last is used up."""
    terms, values = where
    while True:
        last = [] if after is None else [after]
        sql = " AND ".join([*terms, *["id < %s" for _ in last]]) or "true"
        query = f"{select} WHERE {sql} ORDER BY id DESC LIMIT {_PAGE}"
        rows = turn.select(query, [*values, *last])
        yield rows
        if len(rows) < _PAGE:
            return
        after = rows[-1][0]


def _sparse(turn: Turn, select: str, where: _Where, after: JobId | None) -> Iterator[list[_Row]]:
    """Yield pages as `_pages` does, of jobs that may all lie behind millions of others.

    The newest of a queue or a task usually come soon on a walk by id, and PostgreSQL, which takes
    them for evenly spread, walks whatever is asked: past three million jobs of other queues, if
    that is where they lie, for a second. So the walk is a short one. If it does not fill the page,
    the ids are taken down by the index of the queue, or by what is known of stretches of the table,
    and put in order afterwards: the CTE keeps the planner from walking again.
    """
    terms, values = where
    place, matches = select.partition(" FROM ")[2], " AND ".join(terms)
    while True:
        older, last = ("true", []) if after is None else ("id < %s", [after])
        near = f"(SELECT * FROM {place} WHERE {older} ORDER BY id DESC LIMIT {_NEAR}) AS near"  # noqa: S608
        query = f"{select.replace(place, near)} WHERE {matches} ORDER BY id DESC LIMIT {_PAGE}"
        rows = turn.select(query, [*last, *values])
        if len(rows) < _PAGE:
            break
        yield rows
        after = rows[-1][0]
    yield from _far(turn, select, where, after)


def _far(turn: Turn, select: str, where: _Where, after: JobId | None) -> Iterator[list[_Row]]:
    """Yield pages as `_pages` does, with their ids taken down unordered first."""
    terms, values = where
    place, matches = select.partition(" FROM ")[2], " AND ".join(terms)
    while True:
        older, last = ("true", []) if after is None else ("id < %s", [after])
        query = (
            f"WITH far AS MATERIALIZED (SELECT id FROM {place} WHERE {matches} AND {older}) "  # noqa: S608
            f"SELECT id FROM far ORDER BY id DESC LIMIT {_FAR}"
        )
        ids = [row[0] for row in turn.select(query, [*values, *last])]
        query = f"{select} WHERE id = ANY (%s::uuid[]) AND {matches} ORDER BY id DESC"
        for start in range(0, len(ids), _PAGE):
            yield turn.select(query, [ids[start : start + _PAGE], *values])
        if len(ids) < _FAR:
            return
        after = ids[-1]


def _first_id(moment: float) -> JobId:
    """Return the lowest id that is given at a moment: UUIDv7, RFC 9562 section 5.7."""
    return JobId(str(UUID(int=int(min(max(moment * 1000, 0), 2**48 - 1)) << 80)))


def _before(
    pages: _Pages, first: JobId, turn: Turn, select: str, where: _Where, after: JobId | None
) -> Iterator[list[_Row]]:
    """Yield pages of what was enqueued before a moment, whose first id is given.

    A walk by id begins there, and not at millions of newer jobs. An id has its time from whoever
    enqueued, though, and the moment is one of the store's clock: jobs of a clock that is ahead are
    looked for first. The two conditions meet in few stretches of the table, which only an index of
    stretches knows: by id itself, the planner would walk past all that is newer.
    """
    terms, values = where
    if after is None or after > first:
        yield from _far(turn, select, ([*terms, _AHEAD], [*values, first]), after)
        after = first
    yield from pages(turn, select, where, after)


def _queued(turn: Turn, place: str, where: JobFilter, after: JobId | None) -> Iterator[JobRecord]:
    terms, values = _conditions(where)
    if where.view in ("scheduled", "ready"):
        terms.append("run_at > %s" if where.view == "scheduled" else "run_at <= %s")
        values.append(turn.now)
    if where.view == "retrying":
        terms.append("attempt > 0 AND trail IS NOT NULL")
    if where.error is not None:  # the trail holds it, among much else: the index of those tried
        terms.append("trail IS NOT NULL AND strpos(trail, %s) > 0")
        values.append(where.error)
    is_sparse = not where.ids and (where.queue is not None or where.task is not None)
    pages = _sparse if is_sparse else _pages
    if where.before is not None and not where.ids:
        pages = partial(_before, pages, _first_id(where.before))
    for rows in pages(turn, f"SELECT {_JOBS} FROM turnout.{place}", (terms, values), after):  # noqa: S608
        yield from _with_side_rows(turn, [job_record(row, State.QUEUED) for row in rows], where)


def _running(turn: Turn, where: JobFilter, after: JobId | None) -> Iterator[JobRecord]:
    """Yield what runs: as many as the workers have slots, whatever waits."""
    held = {row[0]: row[1:] for row in turn.rows("running")}
    terms, values = _conditions(where)
    if after is not None:
        terms.append("id < %s")
        values.append(after)
    terms.append("id = ANY (%s::uuid[])")
    values.append(list(held))
    query = (
        f"SELECT {_JOBS} FROM turnout.lease l, unnest(l.jobs) j "  # noqa: S608
        f"WHERE j.id = ANY (l.ids) AND {' AND '.join('j.' + term for term in terms)} "
        "ORDER BY id DESC"
    )
    rows = turn.select(query, values)
    records = [job_record(row, State.RUNNING, held.get(row[0])) for row in rows]
    yield from _with_side_rows(turn, records, where)


def _with_side_rows(turn: Turn, records: list[JobRecord], where: JobFilter) -> Iterator[JobRecord]:
    """Yield those of a page that match, with their progress and the wish that they stop."""
    if where.error is not None:
        records = [record for record in records if is_error(record.error, where.error)]
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
        # split_part takes a field from the end only since PostgreSQL 14
        last = "substring(error from '[^.]*$')"
        terms.append(f"(error = %s OR (strpos(%s, '.') = 0 AND {last} = %s))")
        values += [where.error] * 3
    select = f"SELECT {_FINALS} FROM turnout.final"  # noqa: S608
    for rows in _pages(turn, select, (terms, values), after):
        yield from map(final_record, rows)


def _trace_rows(
    turn: Turn, where: JobFilter, after: JobId | None
) -> Iterator[tuple[str, str, str, str]]:
    terms, values = bounds(where, after, "%s")
    terms.append("true")
    last: list[object] = []
    while True:
        sql = " AND ".join([*terms, *(["(last_id, n) < (%s, %s)"] if last else [])])
        query = (
            "SELECT queue, worker, last_id, body, n FROM turnout.trace "  # noqa: S608
            f"WHERE {sql} ORDER BY last_id DESC, n DESC LIMIT {_FEW_BATCHES}"
        )
        rows = turn.select(query, [*values, *last])
        for row in rows:
            yield row[:4]
        if len(rows) < _FEW_BATCHES:
            return
        last = [rows[-1][2], rows[-1][4]]
