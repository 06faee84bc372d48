"""The verb `enqueue`: one statement for a batch, the same on our connection and on the caller's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from turnout.store.postgres.base import SEPARATOR, array, text_array

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from turnout.job import JobId, NewJob

T = TypeVar("T")


def enqueue_values(
    jobs: Sequence[NewJob], now: float | None, channel: str | None
) -> tuple[Any, ...]:
    """Return what the statement `enqueue` binds, a column a text.

    None stands for a column of only nulls, one element for all jobs of the same task, queue or
    priority.
    """
    if len({job.id for job in jobs}) < len(jobs):  # one that is repeated counts where it came first
        first: dict[JobId, NewJob] = {}
        for job in jobs:
            first.setdefault(job.id, job)
        jobs = list(first.values())
    unique = None
    if any(job.unique is not None for job in jobs):
        unique = [job.unique for job in jobs]
    return (
        array([job.id for job in jobs]),
        text_array(_shared([job.task for job in jobs])),
        text_array(_shared([job.queue for job in jobs])),
        SEPARATOR.join([job.args for job in jobs]),
        array(_shared([-job.priority for job in jobs])),
        _column(array, [job.run_at for job in jobs]),
        _column(array, [job.expires_at for job in jobs]),
        _column(text_array, [job.context for job in jobs]),
        None if unique is None else text_array([each.key if each else None for each in unique]),
        None if unique is None else text_array([each.until if each else None for each in unique]),
        None if unique is None else array([each.ttl if each else None for each in unique]),
        now,
        channel,
    )


def _shared(values: list[T]) -> list[T]:
    return values[:1] if values.count(values[0]) == len(values) else values


def _column(written: Callable[[list[Any]], str], values: list[Any]) -> str | None:
    return None if values.count(None) == len(values) else written(values)


def read_ids(jobs: Sequence[NewJob], taken: Sequence[JobId]) -> list[JobId | None]:
    """Return the ids of a batch, None where the unique key was taken."""
    if not taken:
        return [job.id for job in jobs]
    refused = set(taken)
    return [None if job.id in refused else job.id for job in jobs]
