"""Moves: what a script is told to take from where, and to put where. See lib.lua for the places.

A move is (id, from, to, key to claim or False); the texts in it are what was seen, so that a job
that has changed since is left alone. Texts are str here: the server's msgpack knows no bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from turnout.job import SUCCEEDED, JobId, State
from turnout.store.redis.own import End, Own, decode_trail
from turnout.store.redis.payload import failure_members, rewritten

if TYPE_CHECKING:
    from turnout.job import LeasedJob, Outcome

Move = tuple[JobId, tuple[Any, ...], tuple[Any, ...], str | bool]
STOPPED = "cancelled while it ran"


def back(own: Own, text: bytes, *, retrying: bool, first: bool = False) -> tuple[Any, ...]:
    """Put it back in line, or among what waits for its time.

    Another's job has no place in our order: it goes to the list's end, or with `first` back to its
    front.
    """
    where = "retry" if retrying else "schedule"
    priority = False if own.foreign else own.priority
    return ("back", own.queue, priority, own.run_at, text.decode(), where, first)


def over(own: Own, text: bytes) -> tuple[Any, ...]:
    """Put it among what ended; with an empty text nothing is kept."""
    end = own.end
    assert end is not None, "what ended says how"  # noqa: S101
    key = own.unique[0] if own.unique is not None else False
    return (
        "end",
        end.state.value,
        own.queue,
        end.finished_at,
        text.decode(),
        end.keep_until or 0.0,
        key,
    )


def settling(outcome: Outcome, text: bytes, own: Own, epoch: str, worker: str) -> Move:
    """Return the move that an outcome means for its leased job, whose payload is `text`."""
    job = outcome.job
    source = ("lease", epoch, str(job.fence), own.queue)
    own = replace(own, attempt=outcome.attempt)
    if outcome.crashes is not None:
        own = replace(own, crashes=outcome.crashes)
    if outcome.trail is not None:
        own = replace(own, trail=outcome.trail)
    if outcome.state is State.QUEUED:
        if outcome.run_at is not None:
            own = replace(own, run_at=outcome.run_at)
        if outcome.run_at is None and outcome.trail is None:
            return (job.id, source, back(own, text, retrying=False, first=True), False)
        # It arrives in its queue anew, and the script that moves it there says when.
        members = {**(_failed(outcome) if outcome.error else {}), "enqueued_at": None}
        to = back(own, rewritten(text, own, **members), retrying=bool(outcome.error))
        return (job.id, source, to, False)
    success = outcome.state is State.SUCCEEDED
    end = End(
        outcome.state,
        outcome.started_at,
        outcome.finished_at,
        worker,
        outcome.error,
        outcome.reason,
        outcome.result,
        outcome.finished_at + outcome.keep if success else None,
    )
    own = replace(own, end=end)
    if success and outcome.keep <= 0:
        return (job.id, source, over(own, b""), False)
    members = _failed(outcome) if outcome.state is State.DEAD else {}
    return (job.id, source, over(own, rewritten(text, own, **members)), False)


def _failed(outcome: Outcome) -> dict[str, Any]:
    trail = decode_trail(outcome.trail) if outcome.trail else None
    if trail is None or not trail.attempts:
        return {}
    first = trail.attempts[0].finished_at
    return failure_members(trail.attempts[-1], outcome.attempt, first)


def stopped(outcome: Outcome) -> Outcome:
    """Return what becomes of a job that somebody asked to stop and that would go back."""
    if outcome.state is not State.QUEUED:
        return outcome
    return replace(outcome, state=State.CANCELLED, reason=STOPPED)


def is_plain(outcome: Outcome) -> bool:
    """Tell whether a success has nothing to tell but that it happened."""
    job: LeasedJob = outcome.job
    return (
        outcome.state is SUCCEEDED
        and outcome.result is None
        and outcome.reason is None
        and job.trail is None
        and job.unique is None
    )
