"""`turnout status`: the queues' numbers and the workers, once or live.

The invariant: it reads maintained counters only, so that looking costs the same however many jobs
there are.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from turnout.cli import output
from turnout.cli.filters import LENGTH
from turnout.cli.options import examples, json_option, with_store
from turnout.job import Part, QueueStats, WorkerInfo
from turnout.lanes import is_lane
from turnout.queues import with_lanes
from turnout.store.protocol import Store

HEADERS = ("queue", "ready", "scheduled", "running", "dead", "oldest", "per min", "")
NUMBERS = HEADERS[1:-1]
_CLOSEST, _FURTHEST = 0.1, 3_600.0  # seconds between two looks


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a store."""

    at: float
    store: str
    location: str
    queues: list[QueueStats]  # with their lanes in their numbers
    workers: list[WorkerInfo]
    lanes: tuple[QueueStats, ...] = ()
    shards: tuple[Part, ...] = ()


def _checked_interval(ctx: click.Context, param: click.Parameter, seconds: float) -> float:
    if not _CLOSEST <= seconds <= _FURTHEST:
        msg = f"two looks are 0.1 s to 1 h apart, got {seconds:g} s"
        raise click.BadParameter(msg, ctx, param)
    return seconds


@click.command(
    epilog=examples("turnout status --app shop.jobs", "turnout status --watch --interval 5s")
)
@with_store
@click.option("-w", "--watch", is_flag=True, help="Stay and look again; with --json a line a look.")
@click.option(
    "--interval", type=LENGTH, default="2s", show_default=True, callback=_checked_interval,
    help="Time between two looks: 0.1s to 1h.",
)  # fmt: skip
@json_option
def status(store: Store, *, watch: bool, interval: float, as_json: bool) -> None:
    """Show each queue's jobs, oldest age and rate, and the workers."""
    if watch:
        watch_status(store, interval, as_json=as_json)
    elif as_json:
        output.print_json(look(store))
    else:
        print_status(look(store))


def look(store: Store) -> Status:
    """Return the numbers of this moment."""
    info, stats = store.describe(), store.count()
    return Status(
        at=time.time(),
        store=info.name,
        location=info.location,
        queues=with_lanes(stats),
        workers=store.workers(),
        lanes=tuple(one for one in stats if is_lane(one.queue)),
        shards=info.parts,
    )


def print_status(seen: Status) -> None:
    """Print one look as text."""
    if output.is_terminal():
        from rich.console import Console

        Console().print(_renderable(seen))
        return
    output.print_table(HEADERS, queue_rows(seen.queues, seen.at), NUMBERS)
    click.echo("\n".join([*worker_lines(seen), *shard_lines(seen)]))


def watch_status(store: Store, interval: float, *, as_json: bool) -> None:
    """Look again and again, until interrupted."""
    if as_json or not output.is_terminal():
        while True:
            seen = look(store)
            output.print_json(seen, compact=True) if as_json else print_status(seen)
            sys.stdout.flush()
            time.sleep(interval)
    from rich.live import Live

    with Live(_renderable(look(store)), auto_refresh=False, screen=True) as live:
        while True:
            time.sleep(interval)
            live.update(_renderable(look(store)), refresh=True)


def queue_rows(queues: Sequence[QueueStats], now: float) -> list[list[str]]:
    """Return a row of text for each queue."""
    return [
        [
            output.one_line(q.queue),
            *map(output.number, (q.ready, q.scheduled, q.running, q.dead)),
            "" if q.oldest_at is None else output.duration(max(0.0, now - q.oldest_at)),
            output.number(q.per_minute),
            "paused" if q.paused else "",
        ]
        for q in queues
    ]


def worker_lines(seen: Status) -> list[str]:
    """Return the sum of all workers, then a line for each."""
    if not seen.workers:
        waiting = any(q.ready for q in seen.queues)
        return [
            "no worker is running" + (": start one with turnout worker MODULE" if waiting else "")
        ]
    busy = sum(w.running for w in seen.workers)
    slots = sum(w.concurrency for w in seen.workers)
    first = f"{output.plural(len(seen.workers), 'worker')}, {busy:,} of {slots:,} slots busy"
    lines = [first, *(_worker_line(w, seen.at) for w in seen.workers)]
    return lines + [
        output.one_line(f"  queue {name} is slowed on {worker.name} to {why}")
        for worker in seen.workers
        for name, why in worker.slowed.items()
    ]


def _worker_line(worker: WorkerInfo, now: float) -> str:
    queues = "all queues" if "*" in worker.queues else ", ".join(worker.queues) or "all queues"
    up = output.duration(max(0.0, now - worker.started_at))
    held = "" if worker.rss is None else f", {worker.rss / 1e6:,.0f} MB"
    busy = f"{worker.running}/{worker.concurrency}"
    said = f"{worker.name} {worker.state} {busy}, up {up}{held}: {queues}"
    return f"  {output.one_line(said)}"


def shard_lines(seen: Status) -> list[str]:
    """Return a line for each shard, if there are any."""
    if not seen.shards:
        return []
    away = sum(part.state == "away" for part in seen.shards)
    first = f"{output.plural(len(seen.shards), 'shard')}, " + (f"{away} away" if away else "all up")
    return [first, *map(_shard_line, seen.shards)]


def _shard_line(part: Part) -> str:
    waiting = "" if part.jobs is None else f", {output.plural(part.jobs, 'job')}"
    note = f": {part.note}" if part.note else ""
    return f"  {output.one_line(f'{part.name} {part.state} at {part.location}{waiting}{note}')}"


def _renderable(seen: Status) -> Any:
    from rich.console import Group
    from rich.text import Text

    where = Text(output.one_line(f"{seen.store}  {seen.location}  {output.clock(seen.at)}"))
    right = [header in NUMBERS for header in HEADERS]
    table = output.rich_table(HEADERS, queue_rows(seen.queues, seen.at), right)
    return Group(where, table, Text("\n".join([*worker_lines(seen), *shard_lines(seen)])))
