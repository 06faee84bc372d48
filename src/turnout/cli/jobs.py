"""`turnout jobs`: find, show and change jobs in any state.

The invariant: what changes jobs goes through `act`, which never takes silence for "all".
"""

from __future__ import annotations

import click

from turnout.cli.act import Chosen, act, acting
from turnout.cli.filters import filter_options
from turnout.cli.listing import list_jobs, page_options
from turnout.cli.options import examples, json_option, with_store
from turnout.cli.show import show_job
from turnout.job import JobFilter
from turnout.store.protocol import Store

_ID = "0197a6c2-5f0e-7c3a-9d1b-2f4e6a8c0b1d"


@click.group(epilog=examples("turnout jobs list --state retrying", f"turnout jobs show {_ID}"))
def jobs() -> None:
    """Find, show, retry, cancel and delete jobs."""


@jobs.command(
    "list", epilog=examples("turnout jobs list --state dead --task shop.jobs.charge --since 1h")
)
@with_store
@filter_options
@page_options
@json_option
def list_command(
    store: Store, *, where: JobFilter, limit: int, after: str | None, as_json: bool
) -> None:
    """List jobs, newest first, a page at a time."""
    list_jobs(store, where, limit=limit, after=after, as_json=as_json)


@jobs.command("show", epilog=examples(f"turnout jobs show {_ID}"))
@click.argument("job_id", metavar="ID")
@with_store
@json_option
def show_command(store: Store, *, job_id: str, as_json: bool) -> None:
    """Answer "did my job run?" with everything that is known of one job."""
    show_job(store, job_id, as_json=as_json)


@jobs.command(
    "retry", epilog=examples(f"turnout jobs retry {_ID}", "turnout jobs retry --state cancelled")
)
@filter_options
@acting
def retry_command(store: Store, chosen: Chosen) -> None:
    """Run jobs again that ended without success, and waiting ones at once."""
    act(store, "retry", chosen)


@jobs.command(
    "cancel", epilog=examples(f"turnout jobs cancel {_ID}", "turnout jobs cancel --queue mail")
)
@filter_options
@acting
def cancel_command(store: Store, chosen: Chosen) -> None:
    """Cancel queued jobs, and ask running ones to stop."""
    act(store, "cancel", chosen)


@jobs.command("delete", epilog=examples("turnout jobs delete --state cancelled --before 2d"))
@filter_options
@acting
def delete_command(store: Store, chosen: Chosen) -> None:
    """Delete jobs and all trace of them; running ones stay."""
    act(store, "delete", chosen)
