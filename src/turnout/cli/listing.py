"""Lists of jobs: one page at a time, newest first.

The invariant: a page says where the next one begins, so that paging never skips or repeats a job.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import click

from turnout.cli import output
from turnout.job import JobFilter, JobId, JobRecord, State
from turnout.store.protocol import Store

HEADERS = ("id", "state", "queue", "task", "attempt", "when", "what")
_limit = click.option(
    "-n", "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True,
    help="At most so many.",
)  # fmt: skip
_after = click.option("--after", metavar="ID", help="Only older than this job: the next page.")


def page_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --limit and --after."""
    return _limit(_after(command))


def list_jobs(
    store: Store, where: JobFilter, *, limit: int, after: str | None, as_json: bool
) -> None:
    """Print one page of jobs, newest first."""
    start = None if after is None else JobId(after)
    records = store.find(where, limit=limit + 1, after=start)
    page, following = records[:limit], len(records) > limit
    last = page[-1].id if following else None
    if as_json:
        output.print_json({"jobs": [output.record_as_json(r) for r in page], "next": last})
    elif page:
        output.print_table(HEADERS, job_rows(page), numbers=("attempt",))
    else:
        click.echo("no such jobs", err=True)
    if last and not as_json:
        click.echo(f"there are more: --after {last}", err=True)


def job_rows(records: Sequence[JobRecord]) -> list[list[str]]:
    """Return a row of text for each job."""
    now = time.time()
    return [
        [r.id, kind(r, now), r.queue, r.task, str(r.attempt), _when(r, now), _what(r)]
        for r in records
    ]


def kind(record: JobRecord, now: float) -> str:
    """Return the state as people see it: a queued job is ready, scheduled or retrying."""
    if record.state is not State.QUEUED:
        return str(record.state)
    if record.run_at is None or record.run_at <= now:
        return "ready"
    return "retrying" if record.attempt else "scheduled"


def _when(record: JobRecord, now: float) -> str:
    if record.state is State.QUEUED:
        return output.ago(record.run_at, now)
    moment = record.finished_at or record.started_at or record.enqueued_at
    return output.ago(moment, now)


def _what(record: JobRecord) -> str:
    said = record.worker or "" if record.state is State.RUNNING else record.why
    return said[:200]
