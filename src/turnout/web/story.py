"""A job's life in order: enqueued, each attempt, each wait and what it was for, its end.

A pure function of the record. The invariant: times never run backwards in it, and every stretch
between two events is named as waiting or running.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from turnout.job import AttemptRecord, JobRecord, State
from turnout.web.wording import duration

BAD = frozenset({"retried", "dead", "crashed"})


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the story; `lasted` is the stretch that it describes, in seconds."""

    kind: Literal["point", "wait", "run"]
    text: str
    at: float | None = None
    lasted: float | None = None
    tone: Literal["", "good", "bad", "warn"] = ""
    attempt: int | None = None  # position in `attempts`, where a traceback may stand


def timeline(record: JobRecord, now: float) -> list[Event]:
    """Return the story of a job, oldest first."""
    events = [Event(kind="point", text="Enqueued", at=record.enqueued_at)]
    at = record.enqueued_at
    for position, entry in enumerate(record.attempts):
        events += _wait(
            at,
            entry.started_at,
            "a delay, or its turn" if position == 0 else _after(record, position),
        )
        events.append(_attempt(entry, position))
        at = entry.finished_at
    return [*events, *_rest(record, at, now)]


def _attempt(entry: AttemptRecord, position: int) -> Event:
    took = max(entry.finished_at - entry.started_at, 0.0)
    said = f" with {entry.error}" if entry.error else ""
    tone: Literal["", "bad", "warn"] = "bad" if entry.outcome in BAD else "warn"
    text = f"Attempt {entry.attempt} {_WORDS.get(entry.outcome, entry.outcome)}{said}"
    return Event(
        kind="run", text=text, at=entry.started_at, lasted=took, tone=tone, attempt=position
    )


_WORDS = {
    "retried": "failed",
    "dead": "failed for good",
    "snoozed": "asked for more time",
    "crashed": "was lost with its worker",
    "released": "was put back unrun",
}


def _after(record: JobRecord, position: int) -> str:
    before = record.attempts[position - 1].outcome
    return {"retried": "backoff before the next attempt", "snoozed": "as the task asked"}.get(
        before, "until it was taken again"
    )


def _wait(since: float | None, until: float | None, what: str) -> list[Event]:
    if since is None or until is None or until <= since:
        return []
    lasted = until - since
    return [Event(kind="wait", text=f"Waited {duration(lasted)}: {what}", lasted=lasted)]


def _rest(record: JobRecord, at: float | None, now: float) -> list[Event]:
    """Return what follows the recorded attempts."""
    if record.state is State.QUEUED:
        return _queued(record, now)
    if record.state is State.RUNNING:
        started = record.started_at
        lasted = None if started is None else max(now - started, 0.0)
        number = record.attempt + 1
        text = f"Attempt {number} runs on {record.worker or 'a worker'}"
        run = Event(kind="run", text=text, at=started, lasted=lasted, tone="good")
        return [*_wait(at, started, "for its turn"), run]
    if record.state is State.SUCCEEDED:
        return _succeeded(record, at)
    tone: Literal["bad", "warn"] = "bad" if record.state is State.DEAD else "warn"
    said = f": {record.reason}" if record.reason else ""
    text = f"{record.state.capitalize()}{said}"
    return [Event(kind="point", text=text, at=record.finished_at, tone=tone)]


def _queued(record: JobRecord, now: float) -> list[Event]:
    due = record.run_at if record.run_at is not None else now
    if due > now:
        return [Event(kind="wait", text="Waits until it is due", at=due, lasted=due - now)]
    return [Event(kind="wait", text="Due, and waits for a worker", at=due, lasted=now - due)]


def _succeeded(record: JobRecord, at: float | None) -> list[Event]:
    started, finished = record.started_at, record.finished_at
    took = None if started is None or finished is None else max(finished - started, 0.0)
    run = Event(
        kind="run",
        text=f"Attempt {max(record.attempt, 1)} succeeded",
        at=started,
        lasted=took,
        tone="good",
    )
    return [*_wait(at, started, "for its turn"), run]
