"""The verb `change`: what an operator does to jobs, in bounded steps.

Jobs are found first and moved then, each on condition that it still stands where it was seen; one
that has moved on counts as unchanged. A step moves at most `STEP` jobs, so that taking them out of
the middle of long lists never holds the server for long.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from turnout.job import Action, JobFilter, JobId, State, Trail
from turnout.store.changing import POSSIBLE
from turnout.store.redis import scripts
from turnout.store.redis.enqueue import pack
from turnout.store.redis.moves import back, over
from turnout.store.redis.own import End, decode_trail, encode
from turnout.store.redis.payload import read, rewritten
from turnout.store.redis.places import Seen, trace_of
from turnout.store.redis.records import select

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from turnout.store.redis.connection import Link
    from turnout.store.redis.moves import Move

STEP = 50
_FAILURE = ("retry_count", "failed_at", "retried_at", "error_class", "error_message")


def change(link: Link, where: JobFilter, action: Action, limit: int, now: float) -> int:
    """Act on matching jobs until `limit` of them changed; return how many did."""
    states = POSSIBLE[action] & set(where.states) if where.states else POSSIBLE[action]
    if not states:
        return 0
    narrowed = replace(where, states=tuple(sorted(states)))
    changed, after = 0, None
    while changed < limit and (page := _page(link, narrowed, now, limit, after)):
        after = page[-1].record.id
        while page and changed < limit:
            part, page = page[: limit - changed], page[limit - changed :]
            changed += _act(link, part, action, now)
    return changed


def _page(link: Link, where: JobFilter, now: float, limit: int, after: JobId | None) -> list[Seen]:
    most = max(limit, 500)
    found: list[Seen] = []
    for seen in select(link, where, now, most, after):
        found.append(seen)
        if len(found) >= most:
            break
    return found


def _act(link: Link, part: Sequence[Seen], action: Action, now: float) -> int:
    make: dict[str, Callable[[Seen, float], Move | None]] = {
        "retry": _retry,
        "cancel": _cancel,
        "delete": _delete,
    }
    traced: dict[str, list[Seen]] = defaultdict(list)
    moves: list[Move] = []
    for seen in part:
        if seen.source[0] == "trace":
            traced[seen.source[1]].append(seen)
        elif (move := make[action](seen, now)) is not None:
            moves.append(move)
    changed = sum(_forget(link, batch) for batch in traced.values())
    for start in range(0, len(moves), STEP):
        changed += sum(link.script(scripts.MOVE, repr(now), pack(moves[start : start + STEP])))
    return changed


def _retry(seen: Seen, now: float) -> Move | None:
    record, source, text = seen
    own = read(text).own
    if record.state is State.QUEUED:
        if (record.run_at or 0.0) <= now:
            return None
        own = replace(own, run_at=now)
        return (record.id, source, back(own, rewritten(text, own), retrying=False), False)
    trail = encode(Trail(decode_trail(own.trail).attempts)).decode() if own.trail else None
    fresh = replace(own, run_at=now, attempt=0, crashes=0, trail=trail, end=None)
    members: dict[str, Any] = dict.fromkeys((*_FAILURE, "error_backtrace"))
    key = own.unique[0] if own.unique is not None and own.unique[1] == "finish" else False
    to = back(fresh, rewritten(text, fresh, **members), retrying=False)
    return (record.id, source, ("revive", *to[1:]), key)


def _cancel(seen: Seen, now: float) -> Move:
    record, source, text = seen
    if record.state is State.RUNNING:
        return (record.id, source, ("ask",), False)
    own = read(text).own
    end = End(
        State.CANCELLED, None, now, None, record.error, "cancelled before it ran", record.result
    )
    own = replace(own, end=end)
    return (record.id, source, over(own, rewritten(text, own)), False)


def _delete(seen: Seen, now: float) -> Move:
    del now
    key = seen.record.unique_key
    return (seen.record.id, seen.source, ("gone", key or False), False)


def _forget(link: Link, batch: list[Seen]) -> int:
    """Take jobs out of the one batch of successes in which they stand."""
    ids = {seen.record.id for seen in batch}
    trace = trace_of(batch[0].source[1], batch[0].text)
    left = [entry for entry in trace.entries if entry[0] not in ids]
    return retrace(link, trace, left)


def retrace(link: Link, trace: Any, left: list[list[Any]]) -> int:
    """Rewrite a batch of successes to what is left of it."""
    kept = {entry[0] for entry in left}
    gone = [entry[0] for entry in trace.entries if entry[0] not in kept]
    if not gone:
        return 0
    text, fades = b"", 0.0
    if left:
        fades = min(entry[8] for entry in left) + trace.keep
        body = msgspec.json.encode(left).decode()
        # The largest id names the batch in its line: it stays, also when that job has gone.
        text = pack(
            (trace.queue, trace.worker, left[0][0], trace.last_id, len(left), trace.keep, body)
        )
    return int(
        link.script(
            scripts.RETRACE, trace.n, trace.text, text, repr(fades), trace.queue, len(gone), *gone
        )
    )
