"""The verb `change`: what an operator does to jobs, in one bounded transaction.

Workers take jobs meanwhile, so each action is conditional: it moves the row of the place where the
job was seen, and a job that has moved on since counts as unchanged.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from turnout.job import Action, JobFilter, JobId, JobRecord, State, Trail
from turnout.store.changing import change_in_pages, each
from turnout.store.server.turn import Turn, decode_trail, encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from turnout.store.changing import Act

    Find = Callable[..., list[JobRecord]]


def change(turn: Turn, find: Find, where: JobFilter, action: Action, limit: int) -> int:
    """Act on matching jobs until `limit` of them changed; return how many did."""
    acts: dict[Action, Act] = {
        "retry": each(partial(_retry, turn)),
        "cancel": each(partial(_cancel, turn)),
        "delete": partial(_delete, turn),
    }
    return change_in_pages(partial(find, turn), acts, where, action, limit)


def _retry(turn: Turn, record: JobRecord) -> bool:
    if record.state is State.QUEUED:
        return _hasten(turn, record)
    rows = turn.rows("final_row", record.id)
    if not rows:
        return False
    key, until, text = rows[0]
    if (
        key is not None
        and until == "finish"
        and not turn.do("claim_unique", key, record.id, turn.now)
    ):
        return False
    trail = decode_trail(text) if text else None
    history = encode(Trail(attempts=trail.attempts)).decode() if trail else None
    turn.rows("revive", record.id, turn.now, history, turn.now)
    turn.add(record.queue, record.state.value, -1)
    return True


def _hasten(turn: Turn, record: JobRecord) -> bool:
    if record.run_at is None or record.run_at <= turn.now:
        return False
    if not turn.rows("hasten", record.id, turn.now, turn.now):
        return False
    turn.add(record.queue, "scheduled", -1)
    return True


def _cancel(turn: Turn, record: JobRecord) -> bool:
    if record.state is State.RUNNING:
        return bool(turn.do("put_cancel", record.id))
    ending = {
        "id": record.id,
        "state": State.CANCELLED,
        "finished_at": turn.now,
        "error": record.error,
        "reason": "cancelled before it ran",
    }
    text = encode([ending]).decode()
    return bool(turn.rows("cancel_queued", record.id, record.id, text, turn.now))


def _delete(turn: Turn, records: list[JobRecord]) -> int:
    """Delete in few statements: a trace row that holds many of these is rewritten once."""
    queued = [record for record in records if record.state is State.QUEUED]
    ended = {record.id: record for record in records if record.state is not State.QUEUED}
    gone = [job_id for _queue, job_id in turn.rows("drop_final", list(ended))]
    traced = ended.keys() - set(gone)
    gone += _forget_traced(turn, traced) if traced else []
    counts = Counter((ended[job_id].queue, ended[job_id].state) for job_id in gone)
    for (queue, state), n in counts.items():
        turn.add(queue, state.value, -n)
    return len(gone) + (_delete_queued(turn, queued) if queued else 0)


def _delete_queued(turn: Turn, records: list[JobRecord]) -> int:
    places = turn.drop_queued(records)
    for queue, place, n in places:
        turn.add(queue, place, -n)
    return sum(n for _, _, n in places)


def _forget_traced(turn: Turn, ids: AbstractSet[JobId]) -> list[JobId]:
    gone: list[JobId] = []
    for n, body in turn.rows("traces_holding", min(ids), max(ids)):
        here = [entry[0] for entry in msgspec.json.decode(body) if entry[0] in ids]
        if here:
            trim_trace(turn, n, lambda entry: entry[0] not in ids)
            gone += here
    return gone


def trim_trace(turn: Turn, n: int, keeps: Callable[[list[Any]], bool]) -> int:
    """Drop the entries of one trace row that `keeps` refuses; return how many went."""
    rows = turn.rows("trace_row", n)
    if not rows:
        return 0
    _queue, keep, text = rows[0]
    body = msgspec.json.decode(text)
    left = [entry for entry in body if keeps(entry)]
    if not left:
        turn.do("drop_trace", n)
    elif len(left) < len(body):
        ids = [entry[0] for entry in left]
        until = min(entry[8] for entry in left) + keep
        kept = encode(left).decode()
        turn.do("update_trace", until, len(left), min(ids), max(ids), kept, n)
    return len(body) - len(left)
