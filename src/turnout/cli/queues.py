"""`turnout queues`: list, pause, resume and purge whole queues.

The invariant: a name that no queue answers to changes nothing, so that a typing error cannot pause
a queue that nobody serves while the one in trouble runs on.
"""

from __future__ import annotations

import difflib
import time

import click

from turnout.cli import output
from turnout.cli.act import Done, act_on_all, confirm, report
from turnout.cli.noting import note
from turnout.cli.options import examples, json_option, with_store
from turnout.cli.status import HEADERS, NUMBERS, queue_rows
from turnout.errors import ConfigError
from turnout.job import JobFilter, State
from turnout.queues import with_lanes
from turnout.store.protocol import Store

_names = click.argument("names", nargs=-1, required=True, metavar="QUEUE...")
_new = click.option("--new", is_flag=True, help="Also a queue that has had no job yet.")


@click.group(epilog=examples("turnout queues pause mail", "turnout queues resume mail"))
def queues() -> None:
    """List, pause, resume and purge queues."""


@queues.command("list", epilog=examples("turnout queues list --json"))
@with_store
@json_option
def list_command(store: Store, *, as_json: bool) -> None:
    """List the queues with their numbers."""
    found = store.count()
    if as_json:
        output.print_json({"queues": found})
    else:
        rows = queue_rows(found, time.time())
        output.print_table(HEADERS, rows, NUMBERS)


@queues.command("pause", epilog=examples("turnout queues pause mail reports"))
@with_store
@_names
@_new
@json_option
def pause_command(store: Store, *, names: tuple[str, ...], new: bool, as_json: bool) -> None:
    """Stop workers from taking jobs of a queue; what runs, runs on."""
    set_paused(store, names, paused=True, new=new, as_json=as_json)


@queues.command("resume", epilog=examples("turnout queues resume mail"))
@with_store
@_names
@_new
@json_option
def resume_command(store: Store, *, names: tuple[str, ...], new: bool, as_json: bool) -> None:
    """Let workers take jobs of a paused queue again."""
    set_paused(store, names, paused=False, new=new, as_json=as_json)


@queues.command("purge", epilog=examples("turnout queues purge mail --yes"))
@with_store
@_names
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
def purge_command(store: Store, *, names: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Delete a queue's queued jobs: ready, scheduled and retrying ones."""
    check_names(store, names)
    purged = [JobFilter(states=(State.QUEUED,), queue=name) for name in dict.fromkeys(names)]
    for where in purged:
        confirm(store, "delete", where, yes=yes)
    changed = sum(act_on_all(store, "delete", where) for where in purged)
    note(store, "purge", f"queue {', '.join(names)}", changed)
    report(Done("delete", changed), as_json=as_json)


def set_paused(
    store: Store, names: tuple[str, ...], *, paused: bool, new: bool, as_json: bool
) -> None:
    """Pause or resume queues, all of them known ones unless `new`."""
    if not new:
        check_names(store, names)
    for name in names:
        store.pause(name, paused=paused)
        note(store, "pause" if paused else "resume", f"queue {name}")
    if as_json:
        output.print_json({"queues": names, "paused": paused})
    else:
        listed = output.one_line(", ".join(names))
        click.echo(f"{'paused' if paused else 'resumed'}: {listed}")


def check_names(store: Store, names: tuple[str, ...]) -> None:
    """Raise ConfigError when the store has never seen one of these queues."""
    stats = store.count()
    known = sorted({one.queue for one in [*stats, *with_lanes(stats)]})
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = (
                f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known) or 'none'}"
            )
            msg = f"no job has ever been in queue {name!r}; {meant}; nothing was changed"
            raise ConfigError(msg)
