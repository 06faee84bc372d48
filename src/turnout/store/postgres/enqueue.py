"""The verb `enqueue`: one statement for a batch, the same on our connection and on the caller's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.job import JobId, NewJob


def enqueue_values(
    jobs: Sequence[NewJob], now: float | None, channel: str | None
) -> tuple[Any, ...]:
    """Return what the statement `enqueue` binds: a column an array, None for one of only nulls."""
    if len({job.id for job in jobs}) < len(jobs):  # one that is repeated counts where it came first
        first: dict[JobId, NewJob] = {}
        for job in jobs:
            first.setdefault(job.id, job)
        jobs = list(first.values())
    unique = None
    if any(job.unique is not None for job in jobs):
        unique = [job.unique for job in jobs]
    return (
        [job.id for job in jobs],
        [job.task for job in jobs],
        [job.queue for job in jobs],
        [job.args for job in jobs],
        [-job.priority for job in jobs],
        _column([job.run_at for job in jobs]),
        _column([job.expires_at for job in jobs]),
        _column([job.context for job in jobs]),
        None if unique is None else [each and each.key for each in unique],
        None if unique is None else [each and each.until for each in unique],
        None if unique is None else [each and each.ttl for each in unique],
        now,
        channel,
    )


def _column(values: list[Any]) -> list[Any] | None:
    return None if all(value is None for value in values) else values


def read_ids(jobs: Sequence[NewJob], taken: Sequence[JobId]) -> list[JobId | None]:
    """Return the ids of a batch, None where the unique key was taken."""
    if not taken:
        return [job.id for job in jobs]
    refused = set(taken)
    return [None if job.id in refused else job.id for job in jobs]
