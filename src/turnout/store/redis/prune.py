"""The verb `prune`: old records go, by age and by count, oldest first, in bounded steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from turnout.job import JobId, Retention, State
from turnout.store.redis import measuring, scripts
from turnout.store.redis.change import retrace
from turnout.store.redis.enqueue import pack
from turnout.store.redis.payload import read
from turnout.store.redis.places import trace_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from turnout.store.redis.connection import Link
    from turnout.store.redis.moves import Move

_STEP = 100


def prune(link: Link, retention: Retention, limit: int, now: float) -> int:
    """Delete what is past its time, then what is over its queue's count."""
    names = sorted(_stirred(link, retention, now))
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
    measuring.prune(link, now)
    return gone


def _stirred(link: Link, retention: Retention, now: float) -> Iterator[str]:
    """Find the queues with something past its time or over its count, hundreds a trip."""
    queues = [name.decode() for name in link.run("SMEMBERS", "queues")]
    before, most = f"({now - retention.ended_age!r}", retention.ended_count
    for start in range(0, len(queues), 500):
        part = queues[start : start + 500]
        asked = [question for queue in part for question in _questions(queue, now, before)]
        answers = map(int, (answer or 0 for answer in link.several(*asked)))
        for queue, numbers in zip(part, zip(*[answers] * 7, strict=True), strict=True):
            faded, plain, told, late, late_too, *counts = numbers
            is_over = plain + told > retention.succeeded_count or max(counts) > most
            if faded or late or late_too or is_over:
                yield queue


def _questions(queue: str, now: float, before: str) -> list[tuple[str, ...]]:
    ended = "turnout:ended:"
    return [
        ("ZCOUNT", f"turnout:trace:fade:{queue}", "-inf", f"({now!r}"),
        ("HGET", "turnout:tally:succeeded", queue),
        ("ZCARD", f"{ended}succeeded:{queue}"),
        ("ZCOUNT", f"{ended}discarded:{queue}", "-inf", before),
        ("ZCOUNT", f"{ended}cancelled:{queue}", "-inf", before),
        ("ZCARD", f"{ended}discarded:{queue}"),
        ("ZCARD", f"{ended}cancelled:{queue}"),
    ]


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
        gone += _gone(link, moves)
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
        gone += _gone(link, going[start : start + _STEP])
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


def _gone(link: Link, moves: list[Move]) -> int:
    return sum(link.script(scripts.MOVE, "0", pack(moves)))
