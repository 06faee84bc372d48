"""`turnout jobs show`: everything that is known of one job, the answer first.

The invariant: whatever state a job is in, the first line says whether it ran, and what happens to
it next.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from turnout.cli import output
from turnout.cli.filters import ids_filter
from turnout.errors import JobNotFound
from turnout.job import AttemptRecord, JobRecord, State
from turnout.lanes import base_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from turnout.store.protocol import Store


def show_job(store: Store, job_id: str, *, as_json: bool) -> None:
    """Print one job; raises JobNotFound, saying what that can mean."""
    found = store.find(ids_filter(job_id), limit=1)
    if not found:
        raise JobNotFound(_unknown(job_id, store.describe().location))
    record, now = found[0], time.time()
    if as_json:
        said = answer(record, now) + obstacle(store, record, now)
        output.print_json({"answer": said, **output.record_as_json(record)})
        return
    for line in told(store, record, now):
        click.echo(line)


def told(store: Store, record: JobRecord, now: float) -> Iterator[str]:
    """Yield all that is known of a job, in lines that are safe to print."""
    yield output.one_line(answer(record, now) + obstacle(store, record, now))
    yield ""
    yield from _fields(record, now)
    for attempt in record.attempts:
        yield from _attempt(attempt)


def _unknown(job_id: str, location: str) -> str:
    return (
        f"no trace of job {output.one_line(job_id)} in {location}. It can mean: the enqueue was "
        "rolled back or is not committed yet; the job is in another store; it succeeded and its "
        "record has been pruned (kept for a day unless `keep` says otherwise); it was deleted; or "
        "the id is not complete"
    )


def answer(record: JobRecord, now: float) -> str:
    """Return one sentence: did it run, and what happens next."""
    attempt = f"attempt {record.attempt}"
    match record.state:
        case State.SUCCEEDED:
            when = output.ago(record.finished_at, now)
            return f"Yes: it succeeded {when} on {attempt}{_took(record)}."
        case State.RUNNING:
            stop = ", and was asked to stop" if record.cancel_requested else ""
            return f"It is running on {record.worker or 'a worker'}{_since(record, now)}{stop}."
        case State.DEAD:
            why = record.why
            return (
                f"No: it died {output.ago(record.finished_at, now)} after {attempt}"
                f"{f' ({why})' if why else ''}. To run it again: turnout dead retry {record.id}"
            )
        case State.DISCARDED | State.CANCELLED:
            why = f": {record.why}" if record.why else ""
            return f"No: it was {record.state} {output.ago(record.finished_at, now)}{why}."
        case _:
            return _waiting(record, now)


def _took(record: JobRecord) -> str:
    if record.started_at is None or record.finished_at is None:
        return ""
    return f" in {output.duration(record.finished_at - record.started_at)}"


def _since(record: JobRecord, now: float) -> str:
    return "" if record.started_at is None else f" for {output.duration(now - record.started_at)}"


def _waiting(record: JobRecord, now: float) -> str:
    due = record.run_at if record.run_at is not None else now
    if due > now and record.attempt:
        last = f", last with {record.why}" if record.why else ""
        times = output.plural(record.attempt, "attempt")
        return f"Not yet: {times} failed{last}; the next is {output.ago(due, now)}."
    if due > now:
        return f"Not yet: it is scheduled {output.ago(due, now)}."
    return f"Not yet: it waits in queue {record.queue}, due {output.ago(due, now)}."


def obstacle(store: Store, record: JobRecord, now: float) -> str:
    """Return what keeps a due job from running, as a sentence; "" when nothing is known to."""
    if record.state is not State.QUEUED or (record.run_at or 0) > now:
        return ""
    queues = {record.queue, base_of(record.queue)}
    for stats in store.count():
        if stats.paused and stats.queue in queues:
            return f" The queue is paused: turnout queues resume {stats.queue}"
    workers = store.workers()
    if not workers:
        return " No worker is running: turnout worker MODULE"
    if not any({*queues, "*"} & set(w.queues) or not w.queues for w in workers):
        return " No running worker serves this queue."
    return ""


def _fields(record: JobRecord, now: float) -> Iterator[str]:
    fields = (
        ("id", record.id),
        ("task", record.task),
        ("queue", record.queue),
        ("state", str(record.state)),
        ("arguments", record.args),
        ("priority", str(record.priority) if record.priority else None),
        ("attempts", str(record.attempt)),
        ("crashes", str(record.crashes) if record.crashes else None),
        *((name, _moment(getattr(record, f"{name}_at"), now)) for name in _MOMENTS),
        ("worker", record.worker),
        ("error", ": ".join(filter(None, (record.error, record.message))) or None),
        ("reason", record.reason),
        ("progress", record.progress),
        ("result", record.result),
        ("context", record.context),
        ("unique key", record.unique_key),
    )
    for name, value in fields:
        if value is not None:
            yield f"{name:<12}{output.one_line(value)}"


_MOMENTS = ("enqueued", "run", "started", "finished", "expires")


def _moment(moment: float | None, now: float) -> str | None:
    return None if moment is None else f"{output.clock(moment)} ({output.ago(moment, now)})"


def _attempt(entry: AttemptRecord) -> Iterator[str]:
    took = output.duration(entry.finished_at - entry.started_at)
    head = (
        f"attempt {entry.attempt}: {entry.outcome} after {took}, {output.clock(entry.started_at)}"
    )
    yield ""
    yield output.one_line(f"{head}, on {entry.worker}")
    if entry.traceback:
        yield _indented(entry.traceback)
    elif entry.error or entry.message:
        yield _indented(": ".join(filter(None, (entry.error, entry.message))))


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in output.clean(text).rstrip().splitlines())
