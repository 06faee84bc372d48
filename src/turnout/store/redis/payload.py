"""A job as text: Sidekiq's payload, with what Sidekiq has no word for under one key, `turnout`.

    {"jid": id, "turnout": {"run_at", "priority", "queue", ...}, "class": task, "queue": name,
     "args": [{...}], "retry": true, "created_at": when it was enqueued, "enqueued_at": when it
     came to its queue, and after failures "retry_count", "failed_at", "error_class", ...}

A task's arguments have names, so they are one object in `args`. The invariant: the first four
members of ours stand in this order, without white space, because scripts read them by a pattern;
members that we do not know are kept as they are, byte by byte. What another program wrote is read
by foreign.py.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, field

from turnout.job import AttemptRecord, JobId, JobRecord, LeasedJob, NewJob, State
from turnout.store.redis.foreign import foreign_rewritten, read_foreign
from turnout.store.redis.own import Own, decode_trail, encode, seconds, without_head
from turnout.terms import Terms


class Payload(msgspec.Struct, kw_only=True, gc=False):
    """The members that we read of every job."""

    jid: str
    task: str = field(name="class", default="")
    args: Raw = Raw(b"[]")
    turnout: Own | None = None
    created_at: float | None = None


class Told(msgspec.Struct, frozen=True):
    """What a payload tells of its job, whoever wrote it."""

    jid: str
    task: str
    args: str
    own: Own
    created_at: float
    terms: Terms | None = None


_decode = msgspec.json.Decoder(Payload).decode
_decode_many = msgspec.json.Decoder(list[Payload]).decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode


def read(text: bytes) -> Told:
    """Return what a payload tells; raises msgspec.DecodeError for what is none."""
    payload = _decode(text)
    own = payload.turnout
    if own is None or not own.queue:
        return _read_foreign(text)
    args = bytes(payload.args)[1:-1].decode() or "{}"
    return Told(payload.jid, payload.task, args, own, seconds(payload.created_at) or own.run_at)


def _read_foreign(text: bytes) -> Told:
    found, task, args = read_foreign(text)
    own = found.own()
    created = seconds(found.created_at) or own.run_at
    return Told(found.jid, task, args, own, created, found.terms())


# ---- leasing


def leased(texts: Sequence[bytes], fence: int) -> list[LeasedJob]:
    """Return the jobs of a lease; all payloads are decoded in one go."""
    found: list[LeasedJob] = []
    for text, payload in zip(texts, _decode_many(b"[" + b",".join(texts) + b"]"), strict=True):
        own = payload.turnout
        if own is None or not own.queue:
            found.append(_leased_foreign(text, fence))
            continue
        unique = own.unique
        found.append(
            LeasedJob(
                JobId(payload.jid),
                payload.task,
                own.queue,
                bytes(payload.args)[1:-1].decode() or "{}",
                own.priority,
                own.attempt,
                own.crashes,
                seconds(payload.created_at) or own.run_at,
                own.run_at,
                own.expires_at,
                own.context,
                own.trail,
                unique[0] if unique is not None and unique[1] == "finish" else None,
                fence,
            )
        )
    return found


def _leased_foreign(text: bytes, fence: int) -> LeasedJob:
    told = _read_foreign(text)
    own = told.own
    return LeasedJob(
        JobId(told.jid),
        told.task,
        own.queue,
        told.args,
        own.priority,
        own.attempt,
        own.crashes,
        told.created_at,
        own.run_at,
        own.expires_at,
        own.context,
        own.trail,
        None,
        fence,
        told.terms,
    )


# ---- enqueueing


def rest_of(job: NewJob) -> str:
    """Return what follows the head of a new job's payload, up to its `created_at`."""
    own = ""
    if job.expires_at is not None:
        own += f',"expires_at":{job.expires_at!r}'
    if job.context is not None:
        own += f',"context":{encode(job.context).decode()}'
    if job.unique is not None:
        own += f',"unique":{encode((job.unique.key, job.unique.until)).decode()}'
    return (
        f'{own}}},"class":{_quoted(job.task)},"queue":"{job.queue}","args":[{job.args}],'
        '"retry":true,"created_at":'
    )


_names: dict[str, str] = {}
_MOST_NAMES = 1_000  # an application has fewer tasks


def _quoted(name: str) -> str:
    text = _names.get(name)
    if text is None:
        text = encode(name).decode()
        if len(_names) < _MOST_NAMES:
            _names[name] = text
    return text


# ---- rewriting


def rewritten(text: bytes, own: Own, **members: Any) -> bytes:
    """Return a payload with our part anew and some members set, or removed where None."""
    if own.foreign:
        return foreign_rewritten(text, own, members)
    kept = _members(text)
    jid = kept.pop("jid")
    kept.pop("turnout", None)
    for name, value in members.items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = Raw(encode(value))
    front = encode((own.run_at, own.priority, own.queue))[1:-1]
    run_at, priority, queue = front.split(b",", 2)
    more = encode(without_head(own))[1:-1]
    head = b'{"jid":%b,"turnout":{"run_at":%b,"priority":%b,"queue":%b%b}' % (
        bytes(jid), run_at, priority, queue, b"," + more if more else b"",
    )  # fmt: skip
    others = encode(kept)[1:-1]
    return head + (b"," + others if others else b"") + b"}"


def failure_members(entry: AttemptRecord, attempt: int, first_at: float) -> dict[str, Any]:
    """Return what Sidekiq's pages show of a failed job."""
    lines = (entry.traceback or "").splitlines()
    packed = base64.b64encode(zlib.compress(encode(lines))).decode() if lines else None
    return {
        "retry_count": max(attempt - 1, 0),
        "failed_at": first_at,
        "retried_at": entry.finished_at if attempt > 1 else None,
        "error_class": entry.error,
        "error_message": entry.message or "",
        "error_backtrace": packed,
    }


# ---- looking


def record_of(text: bytes, state: State = State.QUEUED, **more: Any) -> JobRecord:
    """Return what a payload tells; raises msgspec.DecodeError for what is none."""
    told = read(text)
    own = told.own
    attempts = decode_trail(own.trail).attempts if own.trail else ()
    end = own.end
    if end is not None and state.is_final:
        state = end.state
        more = {
            "started_at": end.started_at,
            "finished_at": end.finished_at,
            "worker": end.worker,
            "error": end.error,
            "reason": end.reason,
            "result": end.result,
            **more,
        }
    elif attempts and own.attempt:
        more["error"] = attempts[-1].error
    return JobRecord(
        id=JobId(told.jid),
        task=told.task,
        queue=own.queue,
        state=state,
        args=told.args,
        priority=own.priority,
        attempt=own.attempt,
        crashes=own.crashes,
        enqueued_at=told.created_at,
        run_at=own.run_at,
        expires_at=own.expires_at,
        context=own.context,
        unique_key=own.unique[0] if own.unique is not None else None,
        attempts=attempts,
        **more,
    )
