"""The verb `change`: what an operator does to jobs, in one bounded transaction.

Candidates come from `find` inside the same write transaction, so nothing moves between looking and
acting.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from turnout.job import Action, JobFilter, JobId, JobRecord, State, Trail
from turnout.store.changing import change_in_pages, each
from turnout.store.sqlite.base import Ending, Q, Turn, decode_trail, encode
from turnout.store.sqlite.records import find

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from turnout.store.changing import Act


def change(turn: Turn, where: JobFilter, action: Action, limit: int) -> int:
    """Act on matching jobs until `limit` of them changed; return how many did."""
    acts: dict[Action, Act] = {
        "retry": each(partial(_retry, turn)),
        "cancel": each(partial(_cancel, turn)),
        "delete": partial(_delete, turn),
    }
    look = partial(find, turn.execute, now=turn.now)
    return change_in_pages(look, acts, where, action, limit)


def _retry(turn: Turn, record: JobRecord) -> bool:
    if record.state is State.QUEUED:
        return _hasten(turn, record)
    key, until, found = turn.execute(Q["final_row"], (record.id,)).fetchone()
    if key is not None and until == "finish" and not _take_key(turn, key, record.id):
        return False
    trail = decode_trail(found) if found else None
    text = encode(Trail(attempts=trail.attempts)).decode() if trail else None
    turn.execute(Q["revive"], (turn.now, text, record.id))
    turn.execute(Q["drop_final"], (record.id,))
    turn.add(record.queue, record.state, -1)
    turn.place(record.id, record.queue, -record.priority, turn.now)
    return True


def _take_key(turn: Turn, key: str, job_id: JobId) -> bool:
    held = turn.execute(Q["unique_holder"], (key,)).fetchone()
    if held is not None and (held[1] is None or held[1] > turn.now):
        return False
    turn.execute(Q["claim_unique"], (key, job_id, "finish", None))
    return True


def _hasten(turn: Turn, record: JobRecord) -> bool:
    if record.run_at is None or record.run_at <= turn.now:
        return False
    _unplace(turn, record)
    turn.execute(Q["hasten"], (turn.now, record.id))
    turn.place(record.id, record.queue, -record.priority, turn.now)
    return True


def _unplace(turn: Turn, record: JobRecord) -> None:
    """Take a queued job out of its claim tree, whichever of the two it is in."""
    key: tuple[Any, ...] = (record.queue, -record.priority, record.run_at, record.id)
    if turn.execute(Q["drop_ready"], key).rowcount:
        turn.add(record.queue, "ready", -1)
    else:
        turn.execute(Q["drop_scheduled"], (record.run_at, record.id))
        turn.add(record.queue, "scheduled", -1)


def _cancel(turn: Turn, record: JobRecord) -> bool:
    if record.state is State.RUNNING:
        return bool(turn.execute(Q["put_cancel"], (record.id,)).rowcount)
    _unplace(turn, record)
    _free(turn, record)
    ending = Ending(
        record.attempt,
        None,
        State.CANCELLED,
        None,
        turn.now,
        error=record.error,
        reason="cancelled before it ran",
    )
    turn.finish(record.id, record.queue, ending)
    return True


def _free(turn: Turn, record: JobRecord) -> None:
    if record.unique_key is not None:
        turn.execute(Q["free_unique"], (record.unique_key, record.id))


def _delete(turn: Turn, records: list[JobRecord]) -> int:
    """Delete; a trace row that holds many of these is rewritten once."""
    traced: set[JobId] = set()
    for record in records:
        if record.state is State.QUEUED:
            _delete_queued(turn, record)
            continue
        if not turn.execute(Q["drop_final"], (record.id,)).rowcount:
            traced.add(record.id)
        turn.add(record.queue, record.state, -1)
    if traced:
        _forget_traced(turn, traced)
    return len(records)


def _delete_queued(turn: Turn, record: JobRecord) -> None:
    _unplace(turn, record)
    _free(turn, record)
    for query in ("drop_job", "drop_progress", "drop_cancel"):
        turn.execute(Q[query], (record.id,))


def _forget_traced(turn: Turn, ids: AbstractSet[JobId]) -> None:
    for n, body in turn.execute(Q["traced_between"], (min(ids), max(ids))).fetchall():
        if any(entry[0] in ids for entry in msgspec.json.decode(body)):
            trim_trace(turn, n, lambda entry: entry[0] not in ids)


def trim_trace(turn: Turn, n: int, keeps: Callable[[list[Any]], bool]) -> int:
    """Drop the entries of one trace row that `keeps` refuses; return how many went."""
    row = turn.execute(Q["trace_row"], (n,)).fetchone()
    keep, body = row[3], msgspec.json.decode(row[8])
    left = [entry for entry in body if keeps(entry)]
    if not left:
        turn.execute(Q["drop_trace"], (n,))
    elif len(left) < len(body):
        ids = [entry[0] for entry in left]
        until = min(entry[8] for entry in left) + keep
        text = encode(left).decode()
        turn.execute(Q["update_trace"], (until, len(left), min(ids), max(ids), text, n))
    return len(body) - len(left)
