"""The verbs of upkeep: heartbeat, reap, workers.

What a dead worker held is taken back in two steps: `surrender` ends the epoch and shows its leases,
`move` takes them away one by one. Whoever dies in between leaves the rest to the next who reaps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec.structs import replace

from turnout.crash import Evidence, after_crash, crash_entry, policies_of
from turnout.job import (
    JobId,
    Order,
    Orders,
    Reaped,
    State,
    Trail,
    WorkerInfo,
)
from turnout.store.redis import scripts
from turnout.store.redis.enqueue import pack
from turnout.store.redis.moves import STOPPED, Move, back, over
from turnout.store.redis.payload import End, Own, decode_trail, encode, read, rewritten

if TYPE_CHECKING:
    from turnout.store.redis.connection import Link

_STEP = 100
_PARTS = 7  # of one job in the answer of `surrender`
_SIGNALS: dict[Order, str] = {"quiet": "TSTP", "stop": "TERM", "dump": "TTIN"}
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
        (worker.rss or 0) // 1024,
    )
    if answer[0] == b"lost":
        return Orders(lost=True)
    if answer[0] == b"astray" or worker.state == "stopped":
        while held := _surrendered(link, worker.epoch, _STEP, now)[1]:
            at = _surrendered(link, worker.epoch, 0, now)[0]
            _move(link, at, [_returned(one, at) for one in held])
        return Orders(lost=answer[0] == b"astray")
    return Orders(
        cancel=frozenset(JobId(one.decode()) for one in answer[2:]),
        quiet=answer[1] == b"TSTP",
        stop=answer[1] == b"TERM",
        dump=answer[1] == b"TTIN",
    )


def order(link: Link, epoch: str, what: Order) -> bool:
    """Leave an order where Sidekiq leaves its signals."""
    return bool(link.script(scripts.ORDER, epoch, _SIGNALS[what]))


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


def reap(
    link: Link, dead: tuple[str | None, Evidence | None], limit: int, now: float | None
) -> list[Reaped]:
    """End the epoch of the `dead`, or those that are over, and take back what they held."""
    epoch, evidence = dead
    policies = _Policies(link)
    reaped: list[Reaped] = []
    while len(reaped) < limit:
        at, held = _surrendered(link, epoch or "", min(_STEP, limit - len(reaped)), now)
        if not held:
            break
        pairs = [_crashed(one, at, policies, evidence) for one in held]
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


class _Policies:
    """What workers said of crashes, each asked for once."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._known: dict[str, dict[str, str]] = {}

    def of(self, epoch: str, task: str) -> str | None:
        if epoch not in self._known:
            info = self._link.run("HGET", f"turnout:epoch:{epoch}", "worker")
            self._known[epoch] = policies_of(info)
        return self._known[epoch].get(task)


def _crashed(
    held: Held, now: float, policies: _Policies, evidence: Evidence | None
) -> tuple[Move, Reaped]:
    payload = read(held.text)
    own = payload.own
    entry = crash_entry(own.attempt + 1, (held.since, now), held.worker, evidence)
    past = decode_trail(own.trail) if own.trail else Trail()
    trail = encode(Trail((*past.attempts, entry), past.counts)).decode()
    own = replace(own, crashes=own.crashes + 1, trail=trail)
    state, reason = after_crash(own.crashes, policies.of(held.epoch, payload.task))
    if held.asked:
        state, move = State.CANCELLED, _stopped(held, own, now)
    elif state is not State.QUEUED:
        own = replace(own, end=End(state, None, now, None, None, reason, None))
        move = (held.id, _source(held, own), over(own, rewritten(held.text, own)), False)
    else:
        to = back(own, rewritten(held.text, own), retrying=False)
        move = (held.id, _source(held, own), to, False)
    return move, Reaped(held.id, payload.task, own.queue, own.crashes, state)
