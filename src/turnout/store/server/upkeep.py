"""The verbs that keep house: `heartbeat`, `order`, `reap`, `prune`.

An epoch is open, or it is ended for good. Ending comes first and alone voids every late settle;
taking back the leases may then need several bounded calls. Heartbeats fold the counters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from turnout.crash import Evidence, after_crash, crash_entry, policies_of
from turnout.job import (
    AttemptRecord,
    JobId,
    Order,
    Orders,
    Reaped,
    Retention,
    State,
    Trail,
    WorkerInfo,
)
from turnout.store.orders import orders_in, with_order
from turnout.store.server.change import trim_trace
from turnout.store.server.measuring import prune_metrics
from turnout.store.server.turn import RATE_SECONDS, Turn, decode_trail, encode
from turnout.store.trace import ended_rules, overdue

if TYPE_CHECKING:
    from collections.abc import Iterable

_REMEMBER_ENDED = 86_400.0


# ---- heartbeat


def heartbeat(turn: Turn, worker: WorkerInfo, ttl: float, *more: object) -> Orders:
    """Renew or open an epoch; the answer tells which of its jobs should stop.

    `more` is what the adapter's own row of a worker holds besides.
    """
    rows = turn.rows("worker_row", worker.epoch)
    if rows and rows[0][0]:
        return Orders(lost=True)
    if worker.state == "stopped":
        turn.do("end_worker", worker.epoch, worker.name, turn.now)
        _release(turn, worker.epoch)
        return Orders()
    deadline = turn.now + ttl
    info = msgspec.structs.replace(worker, deadline=deadline)
    turn.do("put_worker", worker.epoch, worker.name, deadline, encode(info).decode(), *more)
    turn.do("fold")
    cancel = [row[0] for row in turn.rows("asked_to_stop", worker.epoch)]
    return Orders.told(cancel, orders_in(rows[0][1] if rows else None))


def order(turn: Turn, epoch: str, what: Order) -> bool:
    """Leave an order in a worker's row, for its next heartbeat."""
    rows = turn.rows("worker_row", epoch)
    if not rows or rows[0][0]:
        return False
    turn.do("put_order", with_order(rows[0][1], what), epoch)
    return True


def _release(turn: Turn, epoch: str) -> None:
    """Return what an orderly stopped worker still held to its old place, without blame."""
    for fence, _at, stored, _epoch in turn.rows("leases_of", [epoch]):
        ids = turn.ids_read(stored)
        stop = {row[0] for row in turn.rows("cancels_of", ids)}
        ends = [_cancelled(turn, job_id) if job_id in stop else _back(job_id) for job_id in ids]
        turn.rows("conclude_held", encode(ends).decode(), turn.now, fence, ids)
        turn.do("drop_lease", fence)


def _back(job_id: JobId) -> dict[str, Any]:
    return {"id": job_id, "state": State.QUEUED}


def _cancelled(turn: Turn, job_id: JobId) -> dict[str, Any]:
    return {
        "id": job_id,
        "state": State.CANCELLED,
        "finished_at": turn.now,
        "reason": "cancelled while it ran",
    }


# ---- reap


def reap(turn: Turn, epoch: str | None, evidence: Evidence | None, limit: int) -> list[Reaped]:
    """End the epochs that are over, then take back what they held, at most `limit` jobs."""
    if epoch is not None:
        turn.do("end_worker", epoch, epoch, turn.now)
        holders = [epoch]
    else:
        turn.do("end_overdue", turn.now)
        holders = [row[0] for row in turn.rows("ended_with_leases")]
    known = {name: Holder(*about) for name, *about in turn.rows("worker_names", holders)}
    reaped: list[Reaped] = []
    for fence, leased_at, stored, holder in turn.rows("leases_of", holders):
        ids = turn.ids_read(stored)
        taken = ids[: limit - len(reaped)]
        if not taken:
            break
        dead = known.get(holder) or Holder(holder, "{}")
        reaped += _take_back(turn, fence, taken, Death(dead, leased_at, evidence))
        if len(taken) < len(ids):
            turn.do("shrink_lease", turn.ids_stored(ids[len(taken) :]), fence)
        else:
            turn.do("drop_lease", fence)
    turn.do("forget_workers", turn.now - _REMEMBER_ENDED)
    return reaped


class Holder(NamedTuple):
    """A worker whose epoch is over: its name, and its `WorkerInfo` as JSON."""

    name: str
    info: str


class Death(NamedTuple):
    """Who died under jobs, since when it had them, and what is known of the death."""

    worker: Holder
    since: float
    evidence: Evidence | None


def _take_back(turn: Turn, fence: int, ids: list[JobId], death: Death) -> list[Reaped]:
    stop = {row[0] for row in turn.rows("cancels_of", ids)}
    reaped: list[Reaped] = []
    ends: list[dict[str, Any]] = []
    policies = policies_of(death.worker.info)
    for job_id, task, queue, crashes, attempt, trail in turn.rows("held_jobs", fence, ids):
        entry = crash_entry(attempt + 1, (death.since, turn.now), death.worker.name, death.evidence)
        end: dict[str, Any] = {
            "id": job_id,
            "crashes": crashes + 1,
            "trail": _with_entry(trail, entry),
        }
        if job_id in stop:
            end = {**_cancelled(turn, job_id), **end}
        else:
            end |= _verdict(turn, crashes + 1, policies.get(task))
        ends.append(end)
        reaped.append(Reaped(job_id, task, queue, crashes + 1, end["state"]))
    turn.rows("conclude_held", encode(ends).decode(), turn.now, fence, ids)
    return reaped


def _verdict(turn: Turn, crashes: int, on_crash: str | None) -> dict[str, Any]:
    state, reason = after_crash(crashes, on_crash)
    if state is State.QUEUED:
        return {"state": state}
    return {"state": state, "finished_at": turn.now, "reason": reason}


def _with_entry(trail: str | None, entry: AttemptRecord) -> str:
    before = decode_trail(trail) if trail else Trail()
    return encode(Trail(attempts=(*before.attempts, entry), counts=before.counts)).decode()


# ---- prune


def prune(turn: Turn, retention: Retention, limit: int) -> int:
    """Delete what is past its time, then what is over its queue's count."""
    gone = _prune_successes(turn, limit)
    ended = ended_rules(retention)
    for queue, what, n in turn.rows("tallies"):  # once: there may be thousands of queues
        if what == State.SUCCEEDED.value:
            gone += _cap_successes(turn, queue, n - retention.succeeded_count, limit - gone)
        elif what in ended and n > 0:
            gone += _prune_ended(turn, (queue, State(what)), n, ended[what], limit - gone)
    turn.do("prune_unique", turn.now, max(limit, 0))
    turn.do("prune_marks", turn.now, max(limit, 0))
    turn.do("prune_rate", int(turn.now // RATE_SECONDS) - 60)
    prune_metrics(turn, max(limit, 0))
    return gone


def _prune_successes(turn: Turn, limit: int) -> int:
    gone = 0
    for (n,) in turn.rows("overdue_traces", turn.now, 1000):
        if gone >= limit:
            return gone
        for queue, keep, _body in turn.rows("trace_row", n):  # none: another worker was first
            went = trim_trace(turn, n, overdue(turn.now, keep, limit - gone))
            turn.add(queue, State.SUCCEEDED.value, -went)
            gone += went
    rows = turn.rows("overdue_successes", turn.now, max(limit - gone, 0))
    return gone + _drop(turn, State.SUCCEEDED, rows)


def _drop(turn: Turn, state: State, rows: Iterable[tuple[JobId, str]]) -> int:
    gone = turn.rows("drop_final", [row[0] for row in rows])
    for queue, _id in gone:
        turn.add(queue, state.value, -1)
    return len(gone)


def _cap_successes(turn: Turn, queue: str, excess: int, limit: int) -> int:
    excess = min(excess, limit)
    gone = 0
    if excess <= 0:
        return 0
    for n, total in turn.rows("oldest_traces", queue):
        if gone >= excess:
            break
        gone += _trim_oldest(turn, n, min(total, excess - gone))
    turn.add(queue, State.SUCCEEDED.value, -gone)
    if gone < excess:
        rows = turn.rows("oldest_ended", queue, State.SUCCEEDED.value, excess - gone)
        gone += _drop(turn, State.SUCCEEDED, rows)
    return gone


def _trim_oldest(turn: Turn, n: int, count: int) -> int:
    body = msgspec.json.decode(turn.rows("trace_row", n)[0][2])
    oldest = sorted(body, key=lambda entry: (entry[8], entry[0]))[:count]
    going = {entry[0] for entry in oldest}
    return trim_trace(turn, n, lambda entry: entry[0] not in going)


def _prune_ended(
    turn: Turn, place: tuple[str, State], kept: int, rule: tuple[float, int], limit: int
) -> int:
    (queue, state), (age, most) = place, rule
    if limit <= 0:
        return 0
    rows = turn.rows("overdue_ended", queue, state.value, turn.now - age, limit)
    gone = _drop(turn, state, rows)
    excess = min(kept - gone - most, limit - gone)
    if excess > 0:
        rows = turn.rows("oldest_ended", queue, state.value, excess)
        gone += _drop(turn, state, rows)
    return gone
