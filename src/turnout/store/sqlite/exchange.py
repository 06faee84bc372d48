"""The verb `exchange`: settle a batch and lease the next, in one write transaction.

A settle is valid while its lease row still names the job under the worker's epoch; reaping deletes
that row, so a late settle finds nothing to apply. Nearly all jobs are plain successes: first run,
no result, nothing to free. Those leave in bulk, two statements a batch, and their trace is one row.
Everything else takes the slower way, one job at a time.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import starmap
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from turnout.job import Exchanged, JobId, LeasedJob, Outcome, State, Want
from turnout.lanes import base_of, is_lane
from turnout.store.sqlite.base import Ending, Q, Turn, decode_ids, encode, ids_text
from turnout.store.trace import is_plain, trace_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


class Lease(NamedTuple):
    """A lease just taken: its fence and its ids, as `leased_jobs` binds them."""

    fence: int
    ids: str


def exchange(
    turn: Turn, epoch: str, outcomes: Sequence[Outcome], want: Want | None
) -> tuple[Exchanged, Lease | None]:
    """Settle and lease; the answer's `leased` is still empty, the lease tells what to read."""
    if turn.execute(Q["epoch_open"], (epoch,)).fetchone() is None:
        return Exchanged([], [], lost=True), None
    settled = _settle(turn, epoch, outcomes) if outcomes else []
    if want is None:
        return Exchanged(settled, []), None
    promote(turn)
    return Exchanged(settled, []), _lease(turn, epoch, want)


def read_leased(execute: Callable[..., Any], lease: Lease) -> list[LeasedJob]:
    """Return the jobs of a fresh lease, in the order in which they were claimed."""
    return list(starmap(LeasedJob, execute(Q["leased_jobs"], lease)))


# ---- settle


def _settle(turn: Turn, epoch: str, outcomes: Sequence[Outcome]) -> list[JobId]:
    ours = _still_ours(turn, epoch, outcomes)
    if not ours:
        return []
    ids = [outcome.job.id for outcome in ours]
    apart = _members(turn, "any_progress", "progress_of", ids)
    stopped = _members(turn, "any_cancel", "cancels_of", ids)
    apart |= stopped
    plain: dict[tuple[str, float], list[Outcome]] = defaultdict(list)
    worker = turn.execute(Q["worker_name"], (epoch,)).fetchone()[0]
    for outcome in ours:
        job = outcome.job
        if is_plain(outcome) and job.id not in apart:
            plain[job.queue, outcome.keep].append(outcome)
            continue
        turn.add(job.queue, "running", -1)
        if outcome.crashes is not None:
            turn.execute(Q["crash_job"], (outcome.crashes, outcome.trail, job.id))
        if outcome.state is State.QUEUED:
            _requeue(turn, outcome, worker, stopped=job.id in stopped)
        else:
            _finish(turn, outcome, worker)
    for (queue, keep), batch in plain.items():
        _trace(turn, worker, queue, keep, batch)
    return ids


def _still_ours(turn: Turn, epoch: str, outcomes: Sequence[Outcome]) -> list[Outcome]:
    by_fence: dict[int, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_fence[outcome.job.fence].append(outcome)
    ours: list[Outcome] = []
    for fence, batch in by_fence.items():
        row = turn.execute(Q["lease_ids"], (fence, epoch)).fetchone()
        if row is None:
            continue
        ids = decode_ids(row[0])
        if ids == [outcome.job.id for outcome in batch]:  # as good as always: all, in their order
            turn.execute(Q["drop_lease"], (fence,))
            ours += batch
            continue
        held = dict.fromkeys(ids)
        for outcome in batch:
            if outcome.job.id in held:
                del held[outcome.job.id]
                ours.append(outcome)
        keep_lease(turn, fence, held)
    return ours


def keep_lease(turn: Turn, fence: int, held: Iterable[JobId]) -> None:
    """Shrink a lease to what is still held; drop it when that is nothing."""
    left = list(held)
    if left:
        turn.execute(Q["shrink_lease"], (ids_text(left), fence))
    else:
        turn.execute(Q["drop_lease"], (fence,))


def _members(turn: Turn, any_query: str, of_query: str, ids: list[JobId]) -> set[JobId]:
    if turn.execute(Q[any_query]).fetchone() is None:
        return set()
    return {row[0] for row in turn.execute(Q[of_query], (ids_text(ids),))}


def _trace(turn: Turn, worker: str, queue: str, keep: float, batch: list[Outcome]) -> None:
    ids = [outcome.job.id for outcome in batch]
    turn.execute(Q["drop_jobs"], (ids_text(ids),))
    turn.add(queue, "running", -len(batch))
    turn.finished(queue, len(batch))
    if keep <= 0:
        return
    body = [trace_entry(outcome) for outcome in batch]
    until = min(outcome.finished_at for outcome in batch) + keep
    row = (queue, worker, keep, until, len(batch), min(ids), max(ids), encode(body).decode())
    turn.execute(Q["insert_trace"], row)
    turn.add(queue, State.SUCCEEDED, len(batch))


def _requeue(turn: Turn, outcome: Outcome, worker: str, *, stopped: bool) -> None:
    job = outcome.job
    if stopped:
        _end_stopped(turn, outcome, worker)
        return
    run_at = job.run_at if outcome.run_at is None else outcome.run_at
    turn.execute(Q["requeue_job"], (outcome.attempt, outcome.trail, outcome.run_at, job.id))
    turn.place(job.id, job.queue, -job.priority, run_at)


def _end_stopped(turn: Turn, outcome: Outcome, worker: str) -> None:
    job = outcome.job
    _free(turn, job)
    ending = ending_of(outcome, worker)
    asked = replace(ending, state=State.CANCELLED, reason="cancelled while it ran")
    turn.finish(job.id, job.queue, asked)


def ending_of(outcome: Outcome, worker: str) -> Ending:
    """Return what a final record keeps of an outcome."""
    kept = outcome.finished_at + outcome.keep if outcome.state is State.SUCCEEDED else None
    return Ending(
        outcome.attempt,
        outcome.trail,
        outcome.state,
        outcome.started_at,
        outcome.finished_at,
        kept,
        worker,
        outcome.error,
        outcome.reason,
        outcome.result,
    )


def _finish(turn: Turn, outcome: Outcome, worker: str) -> None:
    job = outcome.job
    _free(turn, job)
    if outcome.state is State.SUCCEEDED and outcome.keep <= 0:
        for query in ("drop_job", "drop_progress", "drop_cancel"):
            turn.execute(Q[query], (job.id,))
        turn.finished(job.queue)
        return
    turn.finish(job.id, job.queue, ending_of(outcome, worker))


def _free(turn: Turn, job: LeasedJob) -> None:
    if job.unique is not None:
        turn.execute(Q["free_unique"], (job.unique, job.id))


# ---- lease


def promote(turn: Turn) -> None:
    """Make due scheduled jobs claimable, at most a thousand a turn."""
    rows = turn.execute(Q["due"], (turn.now,)).fetchall()
    if not rows:
        return
    for run_at, job_id, queue, rank in rows:
        turn.execute(Q["insert_ready"], (queue, rank, run_at, job_id))
        turn.add(queue, "ready")
        turn.add(queue, "scheduled", -1)
    turn.execute(Q["drop_due"], rows[-1][:2])


def _lease(turn: Turn, epoch: str, want: Want) -> Lease | None:
    ids: list[JobId] = []
    for queue, room in expand(turn, want.queues):
        most = min(room, want.limit - len(ids))
        rows = turn.execute(Q["head"], (queue, most)).fetchall() if most > 0 else []
        if rows:
            turn.execute(Q["drop_head"], (queue, *rows[-1]))
            turn.add(queue, "ready", -len(rows))
            turn.add(queue, "running", len(rows))
            ids += [row[2] for row in rows]
    if not ids:
        return None
    text = ids_text(ids)
    if turn.execute(Q["any_unique_start"]).fetchone() is not None:
        turn.execute(Q["free_unique_start"], (text,))
    fence = turn.execute(Q["insert_lease"], (epoch, turn.now, text)).lastrowid
    return Lease(fence, text)


def expand(turn: Turn, queues: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Replace "*" by the queues not named, and leave out the paused."""
    paused = {row[0] for row in turn.execute(Q["paused"])}
    named = {queue for queue, _ in queues}
    found: list[tuple[str, int]] = []
    for queue, room in queues:
        if queue != "*":
            found.append((queue, room))
            continue
        others = (one for one in turn.ready_queues() if one not in named and not is_lane(one))
        found.extend((other, room) for other in others)
    if not paused:
        return found
    return [
        (queue, room)
        for queue, room in found
        if queue not in paused and base_of(queue) not in paused
    ]
