"""Outcomes on their way to a server: sorted into plain successes and the others.

The server does all of a batch or nothing, and answers with remarks when an outcome is not what it
was taken for: no longer ours, or with progress or a request to cancel beside it, so that it is no
plain success. Then the batch is sorted anew and sent again.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from turnout.job import State
from turnout.store.server.turn import encode
from turnout.store.trace import is_plain, trace_entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from turnout.job import JobId, Outcome


class Batch:
    """The outcomes of one exchange."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        first: dict[JobId, Outcome] = {}
        for outcome in outcomes:  # a job settled twice is settled by the first of its newest lease
            known = first.setdefault(outcome.job.id, outcome)
            if outcome.job.fence > known.job.fence:
                first[outcome.job.id] = outcome
        self.outcomes = list(first.values())
        self._apart: set[JobId] = set()
        self.sorted: tuple[dict[tuple[str, float], list[Outcome]], list[Outcome]] = ({}, [])

    @property
    def ids(self) -> list[JobId]:
        """The jobs that are settled by this batch, in the order given."""
        return [outcome.job.id for outcome in self.outcomes]

    @property
    def puts_back(self) -> bool:
        """True when a job goes back to its queue, maybe below the marks."""
        return any(
            outcome.run_at is not None or outcome.state == "queued" for outcome in self.outcomes
        )

    def heed(self, remarks: Iterable[tuple[JobId, str]]) -> None:
        """Learn from the server's remarks."""
        why = dict(remarks)
        self.outcomes = [
            _stopped(outcome) if why.get(outcome.job.id) == "cancelled" else outcome
            for outcome in self.outcomes
            if why.get(outcome.job.id) != "missing"
        ]
        self._apart.update(why)

    def sort(self) -> tuple[dict[tuple[str, float], list[Outcome]], list[Outcome]]:
        """Return the plain successes by queue and time to keep them, and the others.

        `sorted` is the last answer.
        """
        plain: dict[tuple[str, float], list[Outcome]] = defaultdict(list)
        others: list[Outcome] = []
        for outcome in self.outcomes:
            if is_plain(outcome) and outcome.job.id not in self._apart:
                plain[outcome.job.queue, outcome.keep].append(outcome)
            else:
                others.append(outcome)
        self.sorted = plain, others
        return self.sorted

    def leases(self) -> dict[int, list[JobId]]:
        """Return the ids by fence, sorted."""
        by_fence: dict[int, list[JobId]] = defaultdict(list)
        for outcome in self.outcomes:
            by_fence[outcome.job.fence].append(outcome.job.id)
        return {fence: sorted(by_fence[fence]) for fence in sorted(by_fence)}


def _stopped(outcome: Outcome) -> Outcome:
    if outcome.state is not State.QUEUED:
        return outcome
    return replace(outcome, state=State.CANCELLED, reason="cancelled while it ran")


def trace_row(queue: str, keep: float, batch: list[Outcome]) -> tuple[Any, ...]:
    """Return one row for a batch of plain successes."""
    ids = [outcome.job.id for outcome in batch]
    until = min([outcome.finished_at for outcome in batch]) + keep
    body = encode([trace_entry(outcome) for outcome in batch]).decode()
    return queue, keep, until, len(batch), min(ids), max(ids), body


def ending(outcome: Outcome) -> dict[str, Any]:
    """Return what the server's `conclude` is told of one outcome."""
    state = outcome.state
    if state is State.QUEUED:
        return {
            "id": outcome.job.id,
            "state": state,
            "attempt": outcome.attempt,
            "crashes": outcome.crashes,
            "trail": outcome.trail,
            "run_at": outcome.run_at,
        }
    success = state is State.SUCCEEDED
    return {
        "id": outcome.job.id,
        "state": state,
        "attempt": outcome.attempt,
        "crashes": outcome.crashes,
        "trail": outcome.trail,
        "started_at": outcome.started_at,
        "finished_at": outcome.finished_at,
        "keep_until": outcome.finished_at + outcome.keep if success else None,
        "error": outcome.error,
        "reason": outcome.reason,
        "result": outcome.result,
        "forget": success and outcome.keep <= 0,
    }
