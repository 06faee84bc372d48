"""The verbs that keep house: `heartbeat`, `order`, `reap`, `prune`.

An epoch is open, or it is ended for good. Ending comes first and alone voids every late settle;
taking back the leases may then need several bounded calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from turnout.crash import Evidence, after_crash, crash_entry, policies_of
from turnout.job import (
    JobId,
    Order,
    Orders,
    Reaped,
    Retention,
    State,
    WorkerInfo,
)
from turnout.metrics import KEPT
from turnout.store.orders import orders_in, with_order
from turnout.store.sqlite.base import RATE_SECONDS, Ending, Q, Turn, decode_ids, encode, with_entry
from turnout.store.sqlite.change import trim_trace
from turnout.store.sqlite.exchange import keep_lease
from turnout.store.sqlite.measuring import prune_metrics
from turnout.store.trace import ended_rules, overdue

if TYPE_CHECKING:
    from collections.abc import Iterable

_REMEMBER_ENDED = 86_400.0


# ---- heartbeat


def heartbeat(turn: Turn, worker: WorkerInfo, ttl: float, bell: int | None) -> Orders:
    """Renew or open an epoch; the answer tells which of its jobs should stop."""
    row = turn.execute(Q["worker_row"], (worker.epoch,)).fetchone()
    if row is not None and row[0]:
        return Orders(lost=True)
    if worker.state == "stopped":
        turn.execute(Q["end_worker"], (worker.epoch, turn.now))
        release(turn, worker.epoch)
        return Orders()
    deadline = turn.now + ttl
    info = msgspec.structs.replace(worker, bell=bell, deadline=deadline)
    turn.execute(Q["put_worker"], (worker.epoch, deadline, bell, encode(info).decode()))
    return Orders.told(_asked_to_stop(turn, worker.epoch), orders_in(row and row[1]))


def order(turn: Turn, epoch: str, what: Order) -> bool:
    """Leave an order in a worker's row, for its next heartbeat."""
    row = turn.execute(Q["worker_row"], (epoch,)).fetchone()
    if row is None or row[0]:
        return False
    turn.execute(Q["put_order"], (with_order(row[1], what), epoch))
    return True


def _asked_to_stop(turn: Turn, epoch: str) -> list[JobId]:
    if turn.execute(Q["any_cancel"]).fetchone() is None:
        return []
    asked: list[JobId] = []
    for _fence, _at, ids in turn.execute(Q["leases_of"], (epoch,)).fetchall():
        asked += [row[0] for row in turn.execute(Q["cancels_of"], (ids,))]
    return asked


def release(turn: Turn, epoch: str) -> None:
    """Return what an orderly stopped worker still held to its old place, without blame."""
    for fence, _at, ids in turn.execute(Q["leases_of"], (epoch,)).fetchall():
        for job_id in decode_ids(ids):
            job = turn.execute(Q["job_row"], (job_id,)).fetchone()
            turn.add(job[2], "running", -1)
            if not _end_if_asked(turn, job):
                turn.place(job_id, job[2], -job[4], job[8])
        turn.execute(Q["drop_lease"], (fence,))


def _end_if_asked(turn: Turn, job: tuple[Any, ...], trail: str | None = None) -> bool:
    if turn.execute(Q["cancel_row"], (job[0],)).fetchone() is None:
        return False
    _end(turn, job, State.CANCELLED, "cancelled while it ran", trail)
    return True


def _end(turn: Turn, job: tuple[Any, ...], state: State, reason: str, trail: str | None) -> None:
    job_id, queue, attempt, key = job[0], job[2], job[5], job[12]
    if key is not None:
        turn.execute(Q["free_unique"], (key, job_id))
    turn.finish(job_id, queue, Ending(attempt, trail, state, None, turn.now, reason=reason))


# ---- reap


def reap(turn: Turn, epoch: str | None, evidence: Evidence | None, limit: int) -> list[Reaped]:
    """End the epochs that are over, then take back what they held, at most `limit` jobs."""
    over = [epoch] if epoch is not None else _past_deadline(turn)
    for dead in over:
        turn.execute(Q["end_worker"], (dead, turn.now))
    holders = (
        over if epoch is not None else [row[0] for row in turn.execute(Q["ended_with_leases"])]
    )
    reaped: list[Reaped] = []
    for dead in holders:
        reaped += _take_back(turn, dead, evidence, limit - len(reaped))
    turn.execute(Q["forget_workers"], (turn.now - _REMEMBER_ENDED,))
    return reaped


def _past_deadline(turn: Turn) -> list[str]:
    return [row[0] for row in turn.execute(Q["past_deadline"], (turn.now,))]


class Death(NamedTuple):
    """Who died under jobs, since when it had them, what it said of crashes, what is known."""

    worker: str
    since: float
    policies: dict[str, str]
    evidence: Evidence | None


def _take_back(turn: Turn, epoch: str, evidence: Evidence | None, limit: int) -> list[Reaped]:
    reaped: list[Reaped] = []
    name, info = turn.execute(Q["worker_about"], (epoch,)).fetchone() or (None, None)
    policies = policies_of(info)
    for fence, leased_at, ids in turn.execute(Q["leases_of"], (epoch,)).fetchall():
        held = decode_ids(ids)
        taken = held[: limit - len(reaped)]
        if not taken:
            break
        death = Death(name or epoch, leased_at, policies, evidence)
        reaped += [_crashed(turn, job_id, death) for job_id in taken]
        keep_lease(turn, fence, held[len(taken) :])
    return reaped


def _crashed(turn: Turn, job_id: JobId, death: Death) -> Reaped:
    job = turn.execute(Q["job_row"], (job_id,)).fetchone()
    task, queue, priority, attempt, crashes, run_at, trail = (
        job[1],
        job[2],
        job[4],
        job[5],
        job[6] + 1,
        job[8],
        job[11],
    )
    entry = crash_entry(attempt + 1, (death.since, turn.now), death.worker, death.evidence)
    trail = with_entry(trail, entry)
    turn.execute(Q["crash_job"], (crashes, trail, job_id))
    turn.add(queue, "running", -1)
    state, reason = after_crash(crashes, death.policies.get(task))
    if _end_if_asked(turn, job, trail):
        state = State.CANCELLED
    elif state is State.QUEUED:
        turn.place(job_id, queue, -priority, run_at)
    else:
        _end(turn, job, state, reason or "", trail)
    return Reaped(job_id, task, queue, crashes, state)


# ---- prune


def prune(turn: Turn, retention: Retention, limit: int) -> int:
    """Delete what is past its time, then what is over its queue's count."""
    gone = _prune_successes(turn, limit)
    ended = ended_rules(retention)
    turn.flush_tallies()
    for queue, what, n in turn.execute(Q["tallies"]).fetchall():
        if what == State.SUCCEEDED:
            gone += _cap_successes(turn, queue, n - retention.succeeded_count, limit - gone)
        elif what in ended and n > 0:
            gone += _prune_ended(turn, (queue, State(what)), n, ended[what], limit - gone)
    turn.execute(Q["prune_unique"], (turn.now, max(limit, 0)))
    turn.execute(Q["prune_marks"], (turn.now, max(limit, 0)))
    turn.execute(Q["prune_rate"], (int(turn.now // RATE_SECONDS) - 60,))
    prune_metrics(turn, KEPT.items(), max(limit, 0))
    return gone


def _prune_successes(turn: Turn, limit: int) -> int:
    gone = 0
    for (n,) in turn.execute(Q["overdue_traces"], (turn.now, 1000)).fetchall():
        if gone >= limit:
            return gone
        row = turn.execute(Q["trace_row"], (n,)).fetchone()
        queue, keep = row[1], row[3]
        went = trim_trace(turn, n, overdue(turn.now, keep, limit - gone))
        turn.add(queue, State.SUCCEEDED, -went)
        gone += went
    rows = turn.execute(Q["overdue_successes"], (turn.now, limit - gone)).fetchall()
    return gone + _drop(turn, State.SUCCEEDED, rows)


def _drop(turn: Turn, state: State, rows: Iterable[tuple[JobId, str]]) -> int:
    gone = 0
    for job_id, queue in rows:
        turn.execute(Q["drop_final"], (job_id,))
        turn.add(queue, state, -1)
        gone += 1
    return gone


def _cap_successes(turn: Turn, queue: str, excess: int, limit: int) -> int:
    excess = min(excess, limit)
    gone = 0
    if excess <= 0:
        return 0
    for n, total in turn.execute(Q["oldest_traces"], (queue,)).fetchall():
        if gone >= excess:
            break
        gone += _trim_oldest(turn, n, min(total, excess - gone))
    turn.add(queue, State.SUCCEEDED, -gone)
    if gone < excess:
        row = (queue, State.SUCCEEDED, excess - gone)
        gone += _drop(turn, State.SUCCEEDED, turn.execute(Q["oldest_ended"], row).fetchall())
    return gone


def _trim_oldest(turn: Turn, n: int, count: int) -> int:
    body = msgspec.json.decode(turn.execute(Q["trace_row"], (n,)).fetchone()[8])
    oldest = sorted(body, key=lambda entry: (entry[8], entry[0]))[:count]
    going = {entry[0] for entry in oldest}
    return trim_trace(turn, n, lambda entry: entry[0] not in going)


def _prune_ended(
    turn: Turn, place: tuple[str, State], kept: int, rule: tuple[float, int], limit: int
) -> int:
    (queue, state), (age, most) = place, rule
    if limit <= 0:
        return 0
    rows = turn.execute(Q["overdue_ended"], (queue, state, turn.now - age, limit)).fetchall()
    gone = _drop(turn, state, rows)
    excess = min(kept - gone - most, limit - gone)
    if excess > 0:
        rows = turn.execute(Q["oldest_ended"], (queue, state, excess)).fetchall()
        gone += _drop(turn, state, rows)
    return gone
