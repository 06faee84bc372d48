"""The verbs of upkeep: heartbeat, reap, workers, prune.

What a dead worker held is taken back in two steps: `surrender` ends the epoch and shows its leases,
`move` takes them away one by one. Whoever dies in between leaves the rest to the next who reaps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec.structs import replace

from turnout.job import (
    AttemptRecord,
    JobId,
    Orders,
    Reaped,
    Retention,
    State,
    Trail,
    WorkerInfo,
)
from turnout.store.protocol import POISON
from turnout.store.redis import scripts
from turnout.store.redis.change import retrace
from turnout.store.redis.enqueue import pack
from turnout.store.redis.moves import STOPPED, Move, back, over
from turnout.store.redis.payload import End, Own, decode_trail, encode, read, rewritten
from turnout.store.redis.places import trace_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from turnout.store.redis.connection import Link

_STEP = 100
_PARTS = 7  # of one job in the answer of `surrender`
_decode_worker = msgspec.json.Decoder(WorkerInfo).decode


class Held(NamedTuple):
    """A lease of an epoch that is over."""

    epoch: str
    worker: str
    fence: str
    since: float
    id: JobId
    text: bytes
    asked: bool  # to stop


def heartbeat(link: Link, worker: WorkerInfo, ttl: float, now: float | None) -> Orders:
    """Renew, open or end an epoch; one that stops gives back what it held, uncounted."""
    answer = link.script(
        scripts.HEARTBEAT,
        worker.epoch,
        "" if now is None else repr(now),
        ttl,
        worker.state,
        worker.name,
        encode(worker),
        _sidekiq_info(worker),
        worker.concurrency,
        worker.running,
        "true" if worker.state != "running" else "false",
    )
    if answer[0] == b"lost":
        return Orders(lost=True)
    if worker.state == "stopped":
        while held := _surrendered(link, worker.epoch, _STEP, now)[1]:
            at = _surrendered(link, worker.epoch, 0, now)[0]
            _move(link, at, [_returned(one, at) for one in held])
        return Orders()
    return Orders(
        cancel=frozenset(JobId(one.decode()) for one in answer[2:]),
        quiet=answer[1] == b"TSTP",
        stop=answer[1] == b"TERM",
    )


def _sidekiq_info(worker: WorkerInfo) -> bytes:
    return encode(
        {
            "hostname": worker.host,
            "started_at": worker.started_at,
            "pid": worker.pid,
            "tag": "turnout",
            "concurrency": worker.concurrency,
            "capsules": {
                "default": {
                    "concurrency": worker.concurrency,
                    "mode": "strict",
                    "weights": dict.fromkeys(worker.queues, 0),
                }
            },
            "queues": worker.queues,
            "weights": [dict.fromkeys(worker.queues, 0)],
            "labels": ["turnout"],
            "identity": worker.name,
            "version": worker.version,
            "embedded": False,
        }
    )


def workers(link: Link) -> list[WorkerInfo]:
    """Return the workers whose epoch is open, by name."""
    rows = link.run("ZRANGE", "turnout:epochs", 0, -1, "WITHSCORES")
    found: list[WorkerInfo] = []
    for epoch, deadline in zip(rows[::2], rows[1::2], strict=True):
        text = link.run("HGET", b"turnout:epoch:" + epoch, "worker")
        if text is not None:
            found.append(replace(_decode_worker(text), deadline=float(deadline)))
    return sorted(found, key=lambda worker: (worker.name, worker.epoch))


# ---- reap


def reap(link: Link, epoch: str | None, limit: int, now: float | None) -> list[Reaped]:
    """End the epochs that are over and take back what they held."""
    reaped: list[Reaped] = []
    while len(reaped) < limit:
        at, held = _surrendered(link, epoch or "", min(_STEP, limit - len(reaped)), now)
        if not held:
            break
        pairs = [_crashed(one, at) for one in held]
        done = _move(link, at, [move for move, _ in pairs])
        reaped += [each for (_, each), moved in zip(pairs, done, strict=True) if moved]
    return reaped


def _surrendered(link: Link, epoch: str, most: int, now: float | None) -> tuple[float, list[Held]]:
    at, *parts = link.script(scripts.SURRENDER, "" if now is None else repr(now), epoch, most)
    held = [
        Held(
            parts[n].decode(),
            parts[n + 1].decode(),
            parts[n + 2].decode(),
            float(parts[n + 3]),
            JobId(parts[n + 4].decode()),
            parts[n + 5],
            bool(parts[n + 6]),
        )
        for n in range(0, len(parts), _PARTS)
    ]
    return float(at), held


def _move(link: Link, now: float, moves: list[Move]) -> list[int]:
    done: list[int] = link.script(scripts.MOVE, repr(now), pack(moves))
    return done


def _source(held: Held, own: Own) -> tuple[Any, ...]:
    return ("lease", held.epoch, held.fence, own.queue)


def _stopped(held: Held, own: Own, now: float) -> Move:
    own = replace(own, end=End(State.CANCELLED, None, now, None, None, STOPPED, None))
    return (held.id, _source(held, own), over(own, rewritten(held.text, own)), False)


def _returned(held: Held, now: float) -> Move:
    own = read(held.text).own
    if held.asked:
        return _stopped(held, own, now)
    return (held.id, _source(held, own), back(own, held.text, retrying=False), False)


def _crashed(held: Held, now: float) -> tuple[Move, Reaped]:
    payload = read(held.text)
    own = payload.own
    entry = AttemptRecord(
        attempt=own.attempt + 1,
        started_at=held.since,
        finished_at=now,
        worker=held.worker,
        outcome="crashed",
        message="the worker died while running this job",
    )
    past = decode_trail(own.trail) if own.trail else Trail()
    trail = encode(Trail((*past.attempts, entry), past.counts)).decode()
    own = replace(own, crashes=own.crashes + 1, trail=trail)
    state = State.QUEUED
    if held.asked:
        state, move = State.CANCELLED, _stopped(held, own, now)
    elif own.crashes >= POISON:
        state = State.DEAD
        reason = f"its worker died under it {own.crashes} times"
        own = replace(own, end=End(state, None, now, None, None, reason, None))
        move = (held.id, _source(held, own), over(own, rewritten(held.text, own)), False)
    else:
        to = back(own, rewritten(held.text, own), retrying=False)
        move = (held.id, _source(held, own), to, False)
    return move, Reaped(held.id, payload.task, own.queue, own.crashes, state)


# ---- prune


def prune(link: Link, retention: Retention, limit: int, now: float) -> int:
    """Delete what is past its time, then what is over its queue's count."""
    names = sorted(name.decode() for name in link.run("SMEMBERS", "queues"))
    gone = 0
    for queue in names:
        gone += _fade(link, queue, limit - gone, now)
    gone += _fade_told(link, limit - gone, now)
    for queue in names:
        gone += _cap_successes(link, queue, retention.succeeded_count, limit - gone)
        for state, age, most in (
            (State.DISCARDED, retention.ended_age, retention.ended_count),
            (State.CANCELLED, retention.ended_age, retention.ended_count),
        ):
            gone += _cap_ended(link, (state, queue), now - age, most, limit - gone)
    gone += _cap_dead(link, retention, limit - gone, now)
    link.script(scripts.SWEEP, repr(now), max(min(limit, 1_000), 0))
    return gone


def _fade(link: Link, queue: str, limit: int, now: float) -> int:
    gone = 0
    key = f"turnout:trace:fade:{queue}"
    for n in link.run("ZRANGEBYSCORE", key, "-inf", f"({now!r}", "LIMIT", 0, 1_000):
        if gone >= limit:
            break
        gone += _trim(link, n, limit - gone, lambda entry, keep: entry[8] + keep < now)
    return gone


def _trim(link: Link, n: bytes, most: int, is_over: Any) -> int:
    """Take the oldest that are over out of one batch, at most so many."""
    text = link.run("HGET", "turnout:trace", n)
    if text is None:
        return 0
    trace = trace_of(n.decode(), text)
    oldest = sorted(trace.entries, key=lambda entry: (entry[8], entry[0]))
    going = {entry[0] for entry in oldest if is_over(entry, trace.keep)}
    going = {entry[0] for entry in [one for one in oldest if one[0] in going][:most]}
    return retrace(link, trace, [entry for entry in trace.entries if entry[0] not in going])


def _fade_told(link: Link, limit: int, now: float) -> int:
    if limit <= 0:
        return 0
    names = link.run("ZRANGEBYSCORE", "turnout:fading", "-inf", f"({now!r}", "LIMIT", 0, limit)
    gone = [
        (JobId(job_id), queue)
        for job_id, _, queue in (name.decode().partition("|") for name in names)
    ]
    return _drop(link, State.SUCCEEDED, gone)


def _drop(link: Link, state: State, jobs: list[tuple[JobId, str]]) -> int:
    gone = 0
    for start in range(0, len(jobs), _STEP):
        moves: list[Move] = [
            (job_id, ("record", state.value, queue), ("gone", False), False)
            for job_id, queue in jobs[start : start + _STEP]
        ]
        gone += sum(_move(link, 0.0, moves))
    return gone


def _cap_successes(link: Link, queue: str, most: int, limit: int) -> int:
    tally, told = link.several(
        ("HGET", "turnout:tally:succeeded", queue),
        ("ZCARD", f"turnout:ended:succeeded:{queue}"),
    )
    excess = min(int(tally or 0) + told - most, limit)
    gone = 0
    if excess <= 0:
        return 0
    for n in link.run("ZRANGE", f"turnout:trace:fade:{queue}", 0, 999):
        if gone >= excess:
            break
        gone += _trim(link, n, excess - gone, lambda _entry, _keep: True)
    if gone < excess:
        ids = link.run("ZRANGE", f"turnout:ended:succeeded:{queue}", 0, excess - gone - 1)
        gone += _drop(link, State.SUCCEEDED, [(JobId(one.decode()), queue) for one in ids])
    return gone


def _cap_ended(link: Link, place: tuple[State, str], before: float, most: int, limit: int) -> int:
    state, queue = place
    if limit <= 0:
        return 0
    key = f"turnout:ended:{state.value}:{queue}"
    late, count = link.several(
        ("ZRANGEBYSCORE", key, "-inf", f"({before!r}", "LIMIT", 0, limit), ("ZCARD", key)
    )
    excess = min(max(len(late), count - most), limit)
    if excess <= 0:
        return 0
    ids = link.run("ZRANGE", key, 0, excess - 1)
    return _drop(link, state, [(JobId(one.decode()), queue) for one in ids])


def _cap_dead(link: Link, retention: Retention, limit: int, now: float) -> int:
    """Trim the dead: by age over all, by count for each queue, the oldest first."""
    over_age = now - retention.dead_age
    tally = link.run("HGETALL", "turnout:tally:dead")
    counts = {
        name.decode(): int(n) - retention.dead_count
        for name, n in zip(tally[::2], tally[1::2], strict=True)
    }
    going: list[Move] = []
    for job_id, queue, text, died in _oldest_dead(link):
        surplus = counts.get(queue, 0) > 0
        if len(going) >= limit or (died >= over_age and max(counts.values(), default=0) <= 0):
            break
        if surplus or died < over_age:
            counts[queue] = counts.get(queue, 0) - 1
            going.append((job_id, ("dead", queue, text.decode()), ("gone", False), False))
    gone = 0
    for start in range(0, len(going), _STEP):
        gone += sum(_move(link, 0.0, going[start : start + _STEP]))
    return gone


def _oldest_dead(link: Link) -> Iterator[tuple[JobId, str, bytes, float]]:
    start = 0
    while page := link.run("ZRANGE", "dead", start, start + _STEP - 1, "WITHSCORES"):
        for text, score in zip(page[::2], page[1::2], strict=True):
            try:
                payload = read(text)
            except msgspec.DecodeError:
                continue
            yield JobId(payload.jid), payload.own.queue, text, float(score)
        start += _STEP
