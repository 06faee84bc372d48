"""Why is this job not running? Every obstacle that can be seen from the store, the worst first.

    queued and due     paused queue, unknown task, no worker, none for this queue, all of them quiet
                       or busy, a full limit, an open breaker, others before it
    queued, ahead      scheduled, waiting after a failure, or after a worker that put it back
    running            who has it, since when, whether that worker is still heard of
    final              it will not run again by itself

A pure function of what was read. The invariant: something is always said, and where a person can
do something about it, what.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from turnout.job import JobRecord, State, WorkerInfo
from turnout.lanes import base_of, is_lane
from turnout.web.wording import distance, duration, number, plural

if TYPE_CHECKING:
    from turnout.standing import Condition, Standing
    from turnout.web.pulse import Look

Kind = Literal[
    "paused", "unknown_task", "no_worker", "no_worker_for_queue", "quiet", "busy", "ahead",
    "slowed", "next", "scheduled", "retrying", "snoozed", "leased", "silent_worker", "stopping",
    "expiring", "expired", "final", "limit_full", "breaker_open",
]  # fmt: skip


class Reason(msgspec.Struct, frozen=True):
    """One reason, in a sentence; `remedy` is what a person can do, "" for nothing."""

    kind: Kind
    text: str
    remedy: str = ""
    blocks: bool = True  # False: a remark beside the reasons


def explain(
    record: JobRecord, look: Look, tasks: Container[str], held: Sequence[Reason] = ()
) -> list[Reason]:
    """Return why a job does not run at this moment; `tasks` are those that this application has.

    `held` are reasons of a queued job that lie outside of what `look` saw.
    """
    if record.state is State.RUNNING:
        return _running(record, look)
    if record.state.is_final:
        return [_final(record)]
    due = record.run_at if record.run_at is not None else look.at
    waiting = [_later(record, due, look.at)] if due > look.at else []
    blocked = [*_blocked(record, look, tasks), *held, *_expiry(record, look.at)]
    if due > look.at or any(one.blocks for one in blocked):
        return [*waiting, *blocked]
    return [*_turn(record, look), *blocked]


def _turns(queue: str, look: Look) -> list[Reason]:
    """Return how many lanes take turns with a job's own."""
    base = base_of(queue)
    others = [one for one in look.lanes if one.ready and base_of(one.queue) == base != queue]
    count = sum(one.queue != queue for one in others)
    if not count or not is_lane(queue):
        return []
    text = f"{plural(count, 'other lane')} of queue {base} take turns with this one."
    return [Reason("ahead", text, blocks=False)]


def _blocked(record: JobRecord, look: Look, tasks: Container[str]) -> list[Reason]:
    found: list[Reason] = []
    for name in dict.fromkeys((base_of(record.queue), record.queue)):
        queue = look.queue(name)
        if queue is not None and queue.paused:
            found.append(Reason("paused", f"Queue {name} is paused.", "Resume the queue."))
    if record.task not in tasks:
        text = (
            f"This application knows no task named {record.task}. A worker that does not know it "
            "either puts the job back and tries later."
        )
        found.append(Reason("unknown_task", text, "Deploy code that has this task, or rename it."))
    return [*found, *_workers(record, look)]


def held_back(limits: Sequence[Standing], dependency: Condition | None, now: float) -> list[Reason]:
    """Return which limits of a job are full, and whether its dependency lets no call through."""
    found = [
        Reason(
            "limit_full",
            f"Limit {one.key} is full: {number(one.live)} of {number(one.most)} taken.",
            "Wait, or raise the limit.",
        )
        for one in limits
        if one.live is not None and one.live >= one.most
    ]
    if dependency is not None and dependency.phase in ("open", "half-open"):
        until = dependency.until
        text = f"The breaker of dependency {dependency.name} is {dependency.phase}"
        text += f"; it tries again {distance(until, now)}." if until else "."
        found.append(Reason("breaker_open", text, "Close it by hand if you know better."))
    return found


def _workers(record: JobRecord, look: Look) -> list[Reason]:
    if not look.workers:
        return [Reason("no_worker", "No worker is running.", "Start one: turnout worker MODULE.")]
    serving = [one for one in look.workers if serves(one, record.queue)]
    if not serving:
        count = plural(len(look.workers), "worker")
        text = f"{count} running, but none serves queue {record.queue}."
        return [Reason("no_worker_for_queue", text, f"Start one with --queues {record.queue}.")]
    if all(one.state != "running" for one in serving):
        text = f"Every worker that serves queue {record.queue} is quiet or stopping."
        return [Reason("quiet", text, "Start a worker, or wait for the deploy to end.")]
    return []


def serves(worker: WorkerInfo, queue: str) -> bool:
    """Tell whether a worker takes jobs of a queue."""
    return not worker.queues or bool({queue, base_of(queue), "*"} & set(worker.queues))


def _turn(record: JobRecord, look: Look) -> list[Reason]:
    """Return what is known of a due job's turn."""
    queue = look.queue(record.queue)
    before = max((queue.ready if queue else 1) - 1, 0)
    serving = [w for w in look.workers if serves(w, record.queue) and w.state == "running"]
    busy, slots = sum(w.running for w in serving), sum(w.concurrency for w in serving)
    found: list[Reason] = []
    if slots and busy >= slots:
        said = plural(slots, "slot")
        text = f"All {said} of the workers that serve this queue are busy."
        found.append(Reason("busy", text, "Wait, or add workers."))
    found += _slowed(record.queue, serving)
    found += _turns(record.queue, look)
    if before:
        rate = queue.per_minute if queue else 0
        soon = (
            f" At {number(rate)} a minute that is up to {duration(before / rate * 60)}."
            if rate
            else ""
        )
        text = (
            f"Up to {number(before)} other ready jobs of queue {record.queue} may go first: "
            f"higher priority, then longer due.{soon}"
        )
        found.append(Reason("ahead", text))
    return found or [
        Reason("next", "It is due and nothing stands in its way: a worker takes it next.")
    ]


def _slowed(queue: str, serving: list[WorkerInfo]) -> list[Reason]:
    told = {
        why
        for worker in serving
        for name, why in worker.slowed.items()
        if name == queue or (name == "*" and queue not in worker.queues)
    }
    if not told:
        return []
    text = f"Workers take less from queue {queue}: {'; '.join(sorted(told))}."
    return [Reason("slowed", text, "Wait, or add workers.")]


def _later(record: JobRecord, due: float, now: float) -> Reason:
    when = distance(due, now)
    last = record.attempts[-1] if record.attempts else None
    if last is not None and last.outcome == "snoozed":
        return Reason("snoozed", f"The task asked to be run later: {when}.", "Run it now.")
    if record.attempt:
        said = f" with {record.error}" if record.error else ""
        text = f"Attempt {record.attempt} failed{said}; the next one is {when}."
        return Reason("retrying", text, "Run it now, without waiting.")
    return Reason("scheduled", f"It is scheduled: due {when}.", "Run it now.")


def _expiry(record: JobRecord, now: float) -> list[Reason]:
    if record.expires_at is None:
        return []
    when = distance(record.expires_at, now)
    if record.expires_at <= now:
        text = f"It was to start by a time that has passed ({when}): a worker will discard it."
        return [Reason("expired", text)]
    text = f"If it has not started {when}, it will be discarded."
    return [Reason("expiring", text, blocks=False)]


def _running(record: JobRecord, look: Look) -> list[Reason]:
    name = record.worker or "a worker"
    since = "" if record.started_at is None else f" for {duration(look.at - record.started_at)}"
    found = [Reason("leased", f"It is running on {name}{since}.")]
    if record.cancel_requested:
        found.append(Reason("stopping", "It was asked to stop and has not done so yet."))
    holder = next((one for one in look.workers if one.name == record.worker), None)
    if holder is None or (holder.deadline and holder.deadline < look.at):
        text = (
            "That worker has not been heard of: its job goes back to the queue when it is reaped."
        )
        found.append(Reason("silent_worker", text, "Keep at least one worker running: it reaps."))
    return found


def _final(record: JobRecord) -> Reason:
    if record.state is State.SUCCEEDED:
        return Reason("final", "It is done: it succeeded.")
    why = f": {record.why}" if record.why else ""
    text = f"It ended as {record.state}{why}. It will not run again by itself."
    return Reason("final", text)
