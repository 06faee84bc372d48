"""A job as text: Sidekiq's payload, with what Sidekiq has no word for under one key, `turnout`.

    {"jid": id, "turnout": {"run_at", "priority", "queue", ...}, "class": task, "queue": name,
     "args": [{...}], "retry": true, "created_at": when it was enqueued, "enqueued_at": when it
     came to its queue, and after failures "retry_count", "failed_at", "error_class", ...}

A task's arguments have names, so they are one object in `args`. The invariant: the first four
members of ours stand in this order, without white space, because scripts read them by a pattern;
members that we do not know are kept as they are, byte by byte.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, field

from turnout.job import AttemptRecord, JobId, JobRecord, LeasedJob, NewJob, State, Trail

encode = msgspec.json.encode
decode_trail = msgspec.json.Decoder(Trail).decode
_MILLISECONDS = 100_000_000_000  # Sidekiq 8 writes integers of milliseconds, others float seconds


class End(msgspec.Struct, array_like=True, frozen=True):
    """How a job ended."""

    state: State
    started_at: float | None
    finished_at: float
    worker: str | None
    error: str | None
    reason: str | None
    result: str | None
    keep_until: float | None = None


class Own(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What Sidekiq has no word for."""

    run_at: float = 0.0
    priority: int = 0
    queue: str = ""
    attempt: int = 0
    crashes: int = 0
    expires_at: float | None = None
    context: str | None = None
    trail: str | None = None
    unique: tuple[str, str] | None = None  # key, until
    end: End | None = None


class Payload(msgspec.Struct, kw_only=True):
    """The members that we read."""

    jid: str
    task: str = field(name="class", default="")
    queue: str = "default"
    args: Raw = Raw(b"[]")
    turnout: Own | None = None
    created_at: float | None = None
    enqueued_at: float | None = None
    retry_count: int | None = None

    @property
    def own(self) -> Own:
        """Our part; of another's job, what can be told."""
        if self.turnout is not None:
            return self.turnout
        attempt = 0 if self.retry_count is None else self.retry_count + 1
        at = seconds(self.enqueued_at) or seconds(self.created_at) or 0.0
        return Own(run_at=at, queue=self.queue, attempt=attempt)


_decode = msgspec.json.Decoder(Payload).decode
_decode_many = msgspec.json.Decoder(list[Payload]).decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode


def seconds(time: float | None) -> float | None:
    """Return a time in seconds, whichever way Sidekiq wrote it."""
    if time is None:
        return None
    return time / 1000 if time > _MILLISECONDS else time


def read(text: bytes) -> Payload:
    """Return a payload; raises msgspec.DecodeError for what is none."""
    return _decode(text)


# ---- leasing


def leased(texts: Sequence[bytes], fence: int) -> list[LeasedJob]:
    """Return the jobs of a lease; all payloads are decoded in one go."""
    found: list[LeasedJob] = []
    for payload in _decode_many(b"[" + b",".join(texts) + b"]"):
        own = payload.turnout or payload.own
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
    more = encode(msgspec.structs.replace(own, run_at=0.0, priority=0, queue=""))[1:-1]
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
    payload = _decode(text)
    own = payload.own
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
        id=JobId(payload.jid),
        task=payload.task,
        queue=own.queue,
        state=state,
        args=bytes(payload.args)[1:-1].decode() or "{}",
        priority=own.priority,
        attempt=own.attempt,
        crashes=own.crashes,
        enqueued_at=seconds(payload.created_at) or own.run_at,
        run_at=own.run_at,
        expires_at=own.expires_at,
        context=own.context,
        unique_key=own.unique[0] if own.unique is not None else None,
        attempts=attempts,
        **more,
    )
