"""The verb `change`: what an operator does to jobs, in one bounded transaction.

Workers take jobs meanwhile, so each action is conditional: it moves the row of the place where the
job was seen, and a job that has moved on since counts as unchanged.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from turnout.job import Action, JobFilter, JobId, JobRecord, State, Trail
from turnout.store.server.turn import Turn, decode_trail, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from collections.abc import Set as AbstractSet

    Find = Callable[..., list[JobRecord]]

_REVIVABLE = {State.DEAD, State.DISCARDED, State.CANCELLED}
_PAGE = 500


def change(turn: Turn, find: Find, where: JobFilter, action: Action, limit: int) -> int:
    """Act on matching jobs until `limit` of them changed; return how many did."""
    act: Callable[[Turn, list[JobRecord]], int] = {
        "retry": _each(_retry),
        "cancel": _each(_cancel),
        "delete": _delete,
    }[action]
    changed = 0
    for page in _pages(turn, find, where, action):
        done = 0
        while done < len(page) and changed < limit:
            part = page[done : done + limit - changed]
            changed += act(turn, part)
            done += len(part)
        if changed >= limit:
            break
    return changed


def _each(act: Callable[[Turn, JobRecord], bool]) -> Callable[[Turn, list[JobRecord]], int]:
    return lambda turn, records: sum(act(turn, record) for record in records)


def _pages(turn: Turn, find: Find, where: JobFilter, action: Action) -> Iterator[list[JobRecord]]:
    possible = {
        "retry": {State.QUEUED, *_REVIVABLE},
        "cancel": {State.QUEUED, State.RUNNING},
        "delete": set(State) - {State.RUNNING},
    }[action]
    states = possible & set(where.states) if where.states else possible
    if not states:
        return
    narrowed = msgspec.structs.replace(where, states=tuple(sorted(states)))
    after: JobId | None = None
    while page := find(turn, narrowed, limit=_PAGE, after=after):
        yield page
        after = page[-1].id


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
    return len(gone) + sum(_delete_queued(turn, record) for record in queued)


def _delete_queued(turn: Turn, record: JobRecord) -> bool:
    places = turn.rows("drop_queued", record.id, record.id)
    for (place,) in places:
        turn.add(record.queue, place, -1)
        turn.unique_free(record.unique_key, record.id)
        turn.do("drop_progress", record.id)
        turn.do("drop_cancel", record.id)
    return bool(places)


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
