"""Reading every place where jobs stand: page by page, each job with what it takes to move it.

Jobs move while pages are read. Places are read in the direction in which jobs travel (queues first,
then leases, then what ended), and each from the end at which they come in, so one that moves on is
met at least once. A page is one command of the server, so nobody waits for a long look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec.structs import replace

from turnout.job import JobFilter, JobId, JobRecord, State
from turnout.store.redis import scripts
from turnout.store.redis.payload import record_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from turnout.store.redis.connection import Link

    Place = tuple[Iterator["Seen"], bool]

PAGE = 1_000
_FEW = 100  # ids that one script looks for
_FAR = 50  # batches of successes that one command reads, far from the id looked for
_BATCHES = 8  # of successes, each of up to some hundreds, that one command reads
_UUID = 36  # characters; Sidekiq's own ids have 24
unpack = msgspec.msgpack.decode


class Seen(NamedTuple):
    """A job, the place where it was seen as a script wants it, and its text there."""

    record: JobRecord
    source: tuple[Any, ...]
    text: bytes


def _see(
    text: bytes, source: tuple[Any, ...], state: State = State.QUEUED, **more: Any
) -> Iterator[Seen]:
    """Yield a job, or nothing where the text is nobody's."""
    try:
        yield Seen(record_of(text, state, **more), source, text)
    except msgspec.DecodeError:
        return


# ---- place by place


def _ranges(link: Link, command: str, key: str) -> Iterator[bytes]:
    start = 0
    while page := link.run(command, key, start, start + PAGE - 1):
        yield from page
        if len(page) < PAGE:
            return
        start += PAGE


def in_list(link: Link, queue: str) -> Iterator[Seen]:
    """Yield what a queue's list holds, the newest first."""
    for text in _ranges(link, "LRANGE", f"queue:{queue}"):
        yield from _see(text, ("list", queue, text.decode()))


def in_ready(link: Link, queue: str) -> Iterator[Seen]:
    """Yield what stands in the sorted set beside a queue's list."""
    for member in _ranges(link, "ZREVRANGE", f"turnout:ready:{queue}"):
        text = member.split(b"|", 2)[2]
        yield from _see(text, ("ready", queue, member.decode()))


def ahead(link: Link, name: str) -> Iterator[Seen]:
    """Yield what waits for its time, in `schedule` or in `retry`."""
    start = 0
    while page := link.run("ZREVRANGE", name, start, start + PAGE - 1, "WITHSCORES"):
        for text, score in zip(page[::2], page[1::2], strict=True):
            yield from _ahead(text, name, score)
        if len(page) < 2 * PAGE:
            return
        start += PAGE


def _ahead(text: bytes, name: str, score: bytes | None) -> Iterator[Seen]:
    """Yield a waiting job; its time is its score, of which another's payload says nothing."""
    for seen in _see(text, ()):
        record = seen.record
        due = record.run_at if score is None else float(score)
        source = ("ahead", name, record.queue, text.decode())
        yield Seen(replace(record, run_at=due), source, text)


def dead(link: Link) -> Iterator[Seen]:
    """Yield the dead."""
    for text in _ranges(link, "ZREVRANGE", "dead"):
        yield from _dead(text)


def _dead(text: bytes) -> Iterator[Seen]:
    for seen in _see(text, (), State.DEAD):
        yield seen._replace(source=("dead", seen.record.queue, text.decode()))


def running(link: Link) -> Iterator[Seen]:
    """Yield what is leased: as many as the workers have slots and look-ahead."""
    epochs, left = link.several(("ZRANGE", "turnout:epochs", 0, -1), ("SMEMBERS", "turnout:over"))
    for epoch in {*epochs, *left}:
        name, held = link.several(
            ("HGET", b"turnout:epoch:" + epoch, "name"), ("HGETALL", b"turnout:held:" + epoch)
        )
        for fence, since in zip(held[::2], held[1::2], strict=True):
            jobs = link.run("HGETALL", b"turnout:lease:" + epoch + b":" + fence)
            for text in jobs[1::2]:
                yield from _leased(text, epoch, fence, float(since), (name or b"").decode())


def _leased(text: bytes, epoch: bytes, fence: bytes, since: float, name: str) -> Iterator[Seen]:
    for seen in _see(text, (), State.RUNNING, started_at=since, worker=name):
        source = ("lease", epoch.decode(), fence.decode(), seen.record.queue)
        yield seen._replace(source=source)


def recorded(link: Link, state: State, queue: str | None) -> Iterator[Seen]:
    """Yield what ended in a state with something to tell."""
    for place in sorted(link.run("SMEMBERS", "turnout:places")):
        kind, _, name = place.decode().partition(":")
        if kind == state.value and queue in {None, name}:
            ids = list(_ranges(link, "ZREVRANGE", f"turnout:ended:{kind}:{name}"))
            for start in range(0, len(ids), PAGE):
                texts = link.run("HMGET", "turnout:record", *ids[start : start + PAGE])
                yield from _recorded(texts, state)


def _recorded(texts: Iterable[bytes | None], state: State) -> Iterator[Seen]:
    for text in texts:
        for seen in _see(text, (), state) if text is not None else ():
            record = seen.record
            yield seen._replace(source=("record", record.state.value, record.queue))


# ---- successes, many in one text


class Trace(NamedTuple):
    """A batch of plain successes as it lies in the store."""

    n: str
    text: bytes
    queue: str
    worker: str
    last_id: str
    keep: float
    entries: list[list[Any]]


def trace_of(n: str, text: bytes) -> Trace:
    """Read a batch's text."""
    queue, worker, _first, last, _count, keep, body = unpack(text, strict=False)
    return Trace(n, text, queue, worker, last, keep, msgspec.json.decode(body))


def traces(link: Link) -> Iterator[Trace]:
    """Yield batches by their largest id, the newest first."""
    top = b"+"
    while names := link.run("ZREVRANGEBYLEX", "turnout:trace:line", top, "-", "LIMIT", 0, _BATCHES):
        numbers = [name.rpartition(b"|")[2] for name in names]
        for n, text in zip(numbers, link.run("HMGET", "turnout:trace", *numbers), strict=True):
            if text is not None:
                yield trace_of(n.decode(), text)
        top = b"(" + names[-1]


def in_trace(trace: Trace) -> Iterator[Seen]:
    """Yield the jobs of one batch."""
    for entry in trace.entries:
        job_id, task, attempt, crashes, enqueued_at, run_at, priority, started, finished = entry
        record = JobRecord(
            id=job_id,
            task=task,
            queue=trace.queue,
            state=State.SUCCEEDED,
            priority=priority,
            attempt=attempt,
            crashes=crashes,
            enqueued_at=enqueued_at,
            run_at=run_at,
            started_at=started,
            finished_at=finished,
            worker=trace.worker,
        )
        yield Seen(record, ("trace", trace.n), trace.text)


# ---- by id


def by_ids(link: Link, ids: Sequence[JobId]) -> Iterator[Seen]:
    """Yield the jobs with these ids, wherever they are.

    Ours are found by the hint kept for each. Another's job, and one of ours that another program
    has moved, is looked for in every place, page by page.
    """
    missing: set[JobId] = set()
    batches: dict[bytes, dict[JobId, Seen]] = {}
    for start in range(0, len(ids), _FEW):
        part = ids[start : start + _FEW]
        hints = link.run("HMGET", "turnout:jobs", *part)
        known = {one for one, hint in zip(part, hints, strict=True) if hint or len(one) != _UUID}
        if not known:
            continue
        parts = link.script(scripts.LOCATE, *known)
        for at in range(0, len(parts), 5):
            missing_id = JobId(parts[at].decode())
            known.discard(missing_id)
            yield from _located(link, missing_id, parts[at + 1 : at + 5], batches)
        missing |= known
    for seen in _far_traced(link, missing):
        missing.discard(seen.record.id)
        yield seen
    if missing:
        yield from (seen for seen in everywhere(link) if seen.record.id in missing)


def _far_traced(link: Link, ids: Iterable[JobId]) -> Iterator[Seen]:
    """Yield plain successes whose batch has a name far above their own ids.

    A job that waited for long is settled beside one that was enqueued just now, and thousands of
    batches may lie between the two ids: more than one script should look through.
    """
    left = {one: one.encode() for one in ids if len(one) == _UUID}
    since = f"[{min(left, default='')}"
    while left and (
        names := link.run("ZRANGEBYLEX", "turnout:trace:line", since, "+", "LIMIT", 0, _FAR)
    ):
        numbers = [name.rpartition(b"|")[2] for name in names]
        for n, text in zip(numbers, link.run("HMGET", "turnout:trace", *numbers), strict=True):
            for job_id in [one for one, raw in left.items() if raw in (text or b"")]:
                del left[job_id]
                trace = trace_of(n.decode(), text)
                yield from (seen for seen in in_trace(trace) if seen.record.id == job_id)
        since = f"({names[-1].decode()}"


def _located(
    link: Link,
    job_id: JobId,
    found: Sequence[bytes],
    batches: dict[bytes, dict[JobId, Seen]],
) -> Iterator[Seen]:
    """Yield the job from where it was found; `batches` keeps those read before, by name."""
    place, one, two, text = found
    if place == b"list":
        yield from _see(text, ("list", one.decode(), text.decode()))
    elif place == b"ready":
        yield from _see(text, ("ready", one.decode(), two.decode()))
    elif place in {b"schedule", b"retry"}:
        yield from _ahead(text, place.decode(), link.run("ZSCORE", place, text))
    elif place == b"dead":
        yield from _dead(text)
    elif place == b"record":
        yield from _recorded([text], State.SUCCEEDED)
    elif place == b"trace":
        if one not in batches:
            trace = trace_of(one.decode(), text)
            batches[one] = {seen.record.id: seen for seen in in_trace(trace)}
        if job_id in batches[one]:
            yield batches[one][job_id]
    else:
        since, name = link.several(
            ("HGET", b"turnout:held:" + one, two), ("HGET", b"turnout:epoch:" + one, "name")
        )
        yield from _leased(text, one, two, float(since or 0), (name or b"").decode())


def everywhere(link: Link) -> Iterator[Seen]:
    """Yield everything that is not a plain success, place after place."""
    for place, _ in places(link, JobFilter(), set(State)):
        yield from place


def places(link: Link, where: JobFilter, states: Iterable[State]) -> Iterator[Place]:
    """Yield places that may hold such jobs, and whether these stand as they came, in a line."""
    wanted = set(states)
    if State.QUEUED in wanted:
        yield from ((ahead(link, name), False) for name in ("schedule", "retry"))
        names = [name.decode() for name in sorted(link.run("SMEMBERS", "queues"))]
        for queue in names if where.queue is None else [where.queue]:
            yield in_ready(link, queue), False
            yield in_list(link, queue), True
    if State.RUNNING in wanted:
        yield running(link), False
    if State.DEAD in wanted:
        yield dead(link), False
    for state in (State.SUCCEEDED, State.DISCARDED, State.CANCELLED):
        if state in wanted:
            yield recorded(link, state, where.queue), False
