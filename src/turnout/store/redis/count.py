"""The verb `count`: counters read, never rows counted.

Lists and sets of one queue know their length. `schedule`, `retry` and `dead` are shared by all
queues, so there we count along; when Ruby has put something in or taken it out behind our back, the
sums differ from the sets' lengths, and the counters are made anew.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from turnout.job import QueueStats
from turnout.lanes import without_paused
from turnout.store.redis import places, scripts

if TYPE_CHECKING:
    from turnout.store.redis.connection import Link

_PARTS = 12  # of one queue in the script's answer
_QUEUES = 100  # that one script looks at, so that it holds the server for milliseconds
_FORGOTTEN = 500  # lanes by one look
_PROMOTIONS = 40  # scripts, each of a bounded number


def count(link: Link, now: float | None) -> list[QueueStats]:
    """Return the numbers of every known queue, by name."""
    _agree(link)
    at = "" if now is None else repr(now)
    for _ in range(_PROMOTIONS):
        if link.script(scripts.COUNT, at) == [0]:
            break
    queues, paused = link.several(("SMEMBERS", "queues"), ("SMEMBERS", "paused"))
    names = sorted({bytes(name) for name in (*queues, *paused)})
    found: list[QueueStats] = []
    for start in range(0, len(names), _QUEUES):
        _, *parts = link.script(scripts.COUNT, at, *names[start : start + _QUEUES])
        found += [_stats(parts[n : n + _PARTS]) for n in range(0, len(parts), _PARTS)]
    return found


def ready(link: Link) -> dict[str, int]:
    """Return how many jobs of each queue of ours can be leased now; the paused are left out."""
    plain, lanes, paused = link.several(
        ("SMEMBERS", "turnout:queues"),
        ("SINTER", "turnout:lanes:ready", "turnout:lanes"),
        ("SMEMBERS", "paused"),
    )
    queues = [bytes(name) for name in (*plain, *lanes)]
    asked = [
        command
        for queue in queues
        for command in (("LLEN", b"queue:" + queue), ("ZCARD", b"turnout:ready:" + queue))
    ]
    answers = link.several(*asked) if asked else []
    numbers = map(sum, zip(answers[::2], answers[1::2], strict=True))
    found = dict(zip(queues, numbers, strict=True))
    if empty := [lane for lane in lanes if not found[bytes(lane)]]:
        link.script(scripts.EMPTY, *empty[:_FORGOTTEN])
    told = {queue.decode(): n for queue, n in found.items()}
    return without_paused(told, {bytes(name).decode() for name in paused})


def _stats(parts: list[bytes]) -> QueueStats:
    queue, oldest = parts[0].decode(), parts[10]
    paused, ready, scheduled, running, succeeded, dead, discarded, cancelled, lately = (
        max(int(part), 0) for part in parts[1:10]
    )
    return QueueStats(
        queue=queue,
        paused=bool(paused),
        ready=ready,
        scheduled=scheduled,
        running=running,
        succeeded=succeeded,
        dead=dead,
        discarded=discarded,
        cancelled=cancelled,
        oldest_at=float(oldest) if oldest else None,
        per_minute=lately,
        foreign=bool(parts[11]),
    )


def _agree(link: Link) -> None:
    scheduled, dead, ahead, retrying, buried = link.several(
        ("HVALS", "turnout:tally:scheduled"),
        ("HVALS", "turnout:tally:dead"),
        ("ZCARD", "schedule"),
        ("ZCARD", "retry"),
        ("ZCARD", "dead"),
    )
    if sum(map(int, scheduled)) != ahead + retrying:
        counter = Counter(
            seen.record.queue for name in ("schedule", "retry") for seen in places.ahead(link, name)
        )
        _write(link, "scheduled", counter)
    if sum(map(int, dead)) != buried:
        _write(link, "dead", Counter(seen.record.queue for seen in places.dead(link)))


def _write(link: Link, state: str, counter: Counter[str]) -> None:
    key = f"turnout:tally:{state}"
    fields = [part for pair in counter.items() for part in pair]
    link.several(("MULTI",), ("DEL", key), *([("HSET", key, *fields)] if fields else []), ("EXEC",))
