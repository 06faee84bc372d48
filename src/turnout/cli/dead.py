"""`turnout dead`: look through the dead set, run its jobs again, or let them go.

The invariant: nothing here touches a job that is not dead.
"""

from __future__ import annotations

import click
import msgspec

from turnout.cli.act import Chosen, act, acting
from turnout.cli.filters import dead_filter_options
from turnout.cli.listing import list_jobs, page_options
from turnout.cli.options import examples, json_option, with_store
from turnout.cli.replays import begin_replay, list_replays, plan_options, stop_replay
from turnout.job import JobFilter, State
from turnout.store.protocol import Store

_DEAD = (State.DEAD,)


@click.group(epilog=examples("turnout dead list", "turnout dead retry --task shop.jobs.charge"))
def dead() -> None:
    """See and rescue the jobs that gave up."""


@dead.command("list", epilog=examples("turnout dead list --error TimeoutError"))
@with_store
@dead_filter_options
@page_options
@json_option
def list_command(
    store: Store, *, where: JobFilter, limit: int, after: str | None, as_json: bool
) -> None:
    """List dead jobs, newest first, a page at a time."""
    where = msgspec.structs.replace(where, states=_DEAD)
    list_jobs(store, where, limit=limit, after=after, as_json=as_json)


@dead.command(
    "retry",
    epilog=examples(
        "turnout dead retry --queue mail",
        "turnout dead retry --all --rate 50 --canary 20 --stop-at 30%",
    ),
)
@dead_filter_options
@plan_options
@acting
def retry_command(store: Store, chosen: Chosen) -> None:
    """Put dead jobs back into their queues, with fresh counts.

    With --rate, --canary or --stop-at, workers do it bit by bit, and stop when too many fail; see
    `turnout dead replays`.
    """
    if chosen.plan is None:
        act(store, "retry", chosen, states=_DEAD)
    else:
        begin_replay(store, chosen, chosen.plan)


@dead.command("replays", epilog=examples("turnout dead replays --json"))
@with_store
@json_option
def replays_command(store: Store, *, as_json: bool) -> None:
    """List the replays under way and the last ones, newest first."""
    list_replays(store, as_json=as_json)


@dead.command("stop", epilog=examples("turnout dead stop 1f0c9a3e"))
@click.argument("replay", metavar="REPLAY")
@with_store
def stop_command(store: Store, replay: str) -> None:
    """Stop a replay; what it sent stays in the queues."""
    stop_replay(store, replay)


@dead.command("delete", epilog=examples("turnout dead delete --before 30d --yes"))
@dead_filter_options
@acting
def delete_command(store: Store, chosen: Chosen) -> None:
    """Delete dead jobs and all trace of them."""
    act(store, "delete", chosen, states=_DEAD)
