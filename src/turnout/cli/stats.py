"""`turnout stats`: how often each task ran, how that ended, and how long it took and waited.

The invariant: it reads what workers keep in the store, in bounded steps of time, and no jobs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from turnout.cli import output
from turnout.cli.filters import LENGTH
from turnout.cli.options import examples, json_option, with_store
from turnout.errors import StoreError
from turnout.metrics import OTHER, Measured, as_figures, step_for, summed
from turnout.store.protocol import KeepsMetrics

if TYPE_CHECKING:
    from turnout.store.protocol import Store

HEADERS = ("task", "runs", "failed", "p50", "p95", "p99", "mean", "waited p95")
NUMBERS = HEADERS[1:]
_LONGEST = 92 * 86_400.0


def _checked_length(ctx: click.Context, param: click.Parameter, seconds: float) -> float:
    if not 1 <= seconds <= _LONGEST:
        msg = f"metrics are kept for 92 days, got {seconds:g} s"
        raise click.BadParameter(msg, ctx, param)
    return seconds


@click.command(
    epilog=examples(
        "turnout stats --app shop.jobs",
        "turnout stats --last 7d --by-queue",
        "turnout stats --last 1h --task shop.charge --json",
    )
)
@with_store
@click.option(
    "--last", "seconds", type=LENGTH, default="1h", show_default=True, callback=_checked_length,
    help="How far to look back: 15m, 1h, 7d; at most 92d.",
)  # fmt: skip
@click.option("-t", "--task", metavar="NAME", help="Only this task.")
@click.option("--by-queue", is_flag=True, help="A line for each queue that a task ran in.")
@json_option
def stats(store: Store, *, seconds: float, task: str | None, by_queue: bool, as_json: bool) -> None:
    """Show how often tasks ran and failed, and how long they took.

    Percentiles come from buckets and are off by a fifth at most. Workers send their counts with
    every heartbeat, so the last seconds may be missing.
    """
    step = step_for(seconds)
    rows = summed(
        _kept(store, step, time.time() - seconds, task),
        by=("task", "queue") if by_queue else ("task",),
    )
    rows.sort(key=lambda row: -row.run.total)
    if as_json:
        output.print_json(
            {"seconds": seconds, "step": step, "tasks": [as_figures(r) for r in rows]}
        )
    elif not rows:
        click.echo("nothing was counted in that time: did a worker run?")
    else:
        headers = ("task", "queue", *HEADERS[1:]) if by_queue else HEADERS
        output.print_table(headers, [_line(row, by_queue=by_queue) for row in rows], NUMBERS)


def _kept(store: Store, step: int, since: float, task: str | None) -> list[Measured]:
    if not isinstance(store, KeepsMetrics):
        msg = f"{type(store).__name__} keeps no metrics"
        raise StoreError(msg)
    return store.metrics(step, since=since - step, task=task)


def _line(row: Measured, *, by_queue: bool) -> list[str]:
    shown = "(other)" if row.task == OTHER else row.task
    spreads = [row.run.quantile(share) for share in (0.5, 0.95, 0.99)]
    return [
        shown,
        *([row.queue] if by_queue else []),
        output.number(row.n),
        output.number(row.failed),
        *(map(_length, [*spreads, row.run.mean, row.wait.quantile(0.95)])),
    ]


def _length(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1_000:.1f}ms" if seconds < 0.1 else output.duration(seconds)  # noqa: PLR2004
