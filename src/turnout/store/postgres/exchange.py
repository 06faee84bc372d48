"""The verb `exchange`: what travels to the server's function and what comes back.

The function does all of it or nothing, and answers with a remark when an outcome is not what it
was taken for: no longer ours, or with progress or a request to cancel beside it, so that it is no
plain success. Then the batch is sorted anew and sent again.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from turnout.job import State
from turnout.store.postgres.base import SEPARATOR, array, encode, text_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from turnout.job import JobId, Outcome


class Batch:
    """Outcomes on their way, sorted into plain successes and the others."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        first: dict[JobId, Outcome] = {}
        for outcome in outcomes:  # a job settled twice in one batch is settled by the first
            first.setdefault(outcome.job.id, outcome)
        self.outcomes = list(first.values())
        self._apart: set[JobId] = set()

    @property
    def ids(self) -> list[JobId]:
        """The jobs that are settled by this batch, in the order given."""
        return [outcome.job.id for outcome in self.outcomes]

    def heed(self, remarks: Iterable[tuple[JobId, str]]) -> None:
        """Learn from the server's remarks."""
        why = dict(remarks)
        self.outcomes = [
            _stopped(outcome) if why.get(outcome.job.id) == "cancelled" else outcome
            for outcome in self.outcomes
            if why.get(outcome.job.id) != "missing"
        ]
        self._apart.update(why)

    def values(self) -> tuple[Any, ...]:
        """Return what settling binds, from the fences to the others."""
        if not self.outcomes:
            return (None,) * 11
        plain: dict[tuple[str, float], list[Outcome]] = defaultdict(list)
        others: list[dict[str, Any]] = []
        for outcome in self.outcomes:
            if _is_plain(outcome) and outcome.job.id not in self._apart:
                plain[outcome.job.queue, outcome.keep].append(outcome)
            else:
                others.append(_ending(outcome))
        batches = [_trace(queue, keep, batch) for (queue, keep), batch in plain.items()]
        queues, keeps, untils, totals, firsts, lasts, bodies = (
            zip(*batches) if batches else [()] * 7
        )
        return (
            *self._leases(),
            text_array(queues),
            *map(array, (keeps, untils, totals, firsts, lasts)),
            SEPARATOR.join(bodies),
            encode(others).decode() if others else None,
        )

    def _leases(self) -> tuple[str, str, str]:
        by_fence: dict[int, list[JobId]] = defaultdict(list)
        for outcome in self.outcomes:
            by_fence[outcome.job.fence].append(outcome.job.id)
        ends: list[int] = []
        ids: list[JobId] = []
        for fence in sorted(by_fence):
            ids += sorted(by_fence[fence])
            ends.append(len(ids))
        return array(sorted(by_fence)), array(ends), array(ids)


def _is_plain(outcome: Outcome) -> bool:
    job = outcome.job
    return (
        outcome.state is State.SUCCEEDED
        and outcome.result is None
        and outcome.reason is None
        and job.trail is None
        and job.unique is None
    )


def _stopped(outcome: Outcome) -> Outcome:
    if outcome.state is not State.QUEUED:
        return outcome
    return replace(outcome, state=State.CANCELLED, reason="cancelled while it ran")


def _trace(queue: str, keep: float, batch: list[Outcome]) -> tuple[Any, ...]:
    ids = [outcome.job.id for outcome in batch]
    until = min([outcome.finished_at for outcome in batch]) + keep
    body = encode([trace_entry(outcome) for outcome in batch]).decode()
    return queue, keep, until, len(batch), min(ids), max(ids), body


def trace_entry(outcome: Outcome) -> tuple[str, str, int, int, float, float, int, float, float]:
    """Return what the trace of a plain success keeps; `records.py` reads it back."""
    job = outcome.job
    return (
        job.id,
        job.task,
        outcome.attempt,
        job.crashes,
        job.enqueued_at,
        job.run_at,
        job.priority,
        outcome.started_at,
        outcome.finished_at,
    )


def _ending(outcome: Outcome) -> dict[str, Any]:
    state = outcome.state
    if state is State.QUEUED:
        return {
            "id": outcome.job.id,
            "state": state,
            "attempt": outcome.attempt,
            "trail": outcome.trail,
            "run_at": outcome.run_at,
        }
    success = state is State.SUCCEEDED
    return {
        "id": outcome.job.id,
        "state": state,
        "attempt": outcome.attempt,
        "trail": outcome.trail,
        "started_at": outcome.started_at,
        "finished_at": outcome.finished_at,
        "keep_until": outcome.finished_at + outcome.keep if success else None,
        "error": outcome.error,
        "reason": outcome.reason,
        "result": outcome.result,
        "forget": success and outcome.keep <= 0,
    }
