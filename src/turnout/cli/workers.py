"""`turnout workers`: see the worker processes, wherever they run, and give them orders.

The invariant: an order goes by way of the store and arrives with the worker's next heartbeat, and a
name that no worker answers to changes nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from turnout.cli import output
from turnout.cli.noting import note
from turnout.cli.options import examples, json_option, with_store
from turnout.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.job import Order, WorkerInfo
    from turnout.store.protocol import Store

HEADERS = ("name", "state", "running", "slots", "memory", "up", "beat due", "version", "queues")
NUMBERS = ("running", "slots", "memory", "up", "beat due")
SAID = {
    "quiet": "will take no more jobs",
    "stop": "will finish what runs, and stop",
    "dump": "will write its stacks to its standard error",
}
_names = click.argument("names", nargs=-1, metavar="[NAME]...")
_all = click.option("--all", "everything", is_flag=True, help="Every worker of this store.")


@click.group(epilog=examples("turnout workers list", "turnout workers quiet web1:4711:9f3a21"))
def workers() -> None:
    """List the worker processes and give them orders."""


@workers.command("list", epilog=examples("turnout workers list --json"))
@with_store
@json_option
def list_command(store: Store, *, as_json: bool) -> None:
    """List the workers: what they do, how much memory they hold."""
    found = store.workers()
    if as_json:
        output.print_json({"workers": found})
    elif found:
        output.print_table(HEADERS, [worker_row(one, time.time()) for one in found], NUMBERS)
    else:
        click.echo("no worker is running", err=True)


@workers.command("quiet", epilog=examples("turnout workers quiet --all"))
@with_store
@_names
@_all
@json_option
def quiet_command(store: Store, *, names: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Let workers take no more jobs; what runs, runs on."""
    give(store, "quiet", pick(store, names, everything=everything), as_json=as_json)


@workers.command("stop", epilog=examples("turnout workers stop web1:4711:9f3a21"))
@with_store
@_names
@_all
@json_option
def stop_command(store: Store, *, names: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Stop workers in good order, within their grace.

    Their supervisor does not replace them, and ends when the last of its workers has.
    """
    give(store, "stop", pick(store, names, everything=everything), as_json=as_json)


@workers.command("dump", epilog=examples("turnout workers dump web1:4711:9f3a21"))
@with_store
@_names
@_all
@json_option
def dump_command(store: Store, *, names: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Let workers write the stack of every thread to their standard error."""
    give(store, "dump", pick(store, names, everything=everything), as_json=as_json)


def pick(store: Store, names: Sequence[str], *, everything: bool) -> list[WorkerInfo]:
    """Return the workers meant; raise ConfigError for a name that is nobody's."""
    if bool(names) == everything:
        raise click.UsageError("which workers? give their names, or --all")
    found = {worker.name: worker for worker in store.workers()}
    unknown = [name for name in names if name not in found]
    if unknown:
        known = ", ".join(found) or "none"
        msg = f"no worker is called {unknown[0]!r}; there are: {known}; nobody was told anything"
        raise ConfigError(output.one_line(msg))
    return [found[name] for name in dict.fromkeys(names)] if names else list(found.values())


def give(store: Store, order: Order, meant: list[WorkerInfo], *, as_json: bool) -> None:
    """Leave the order for each, and say who will get it; exits 1 where nobody does."""
    told = [worker.name for worker in meant if store.order(worker.epoch, order)]
    for name in told:
        note(store, order, f"worker {name}")
    if as_json:
        output.print_json({"order": order, "workers": told})
    else:
        for name in told:
            click.echo(f"{output.one_line(name)} {SAID[order]}, at its next heartbeat")
        for worker in meant:
            if worker.name not in told:
                click.echo(f"{output.one_line(worker.name)}: it has ended meanwhile", err=True)
    if not told:
        click.echo("nobody was told anything", err=True)
        click.get_current_context().exit(1)


def memory(worker: WorkerInfo) -> str:
    """Return a worker's memory in words, "" where it is not known."""
    return "" if worker.rss is None else f"{worker.rss / 1e6:,.0f} MB"


def worker_row(worker: WorkerInfo, now: float) -> list[str]:
    """Return one worker as a row of text."""
    due = worker.deadline - now
    return [
        worker.name,
        worker.state,
        output.number(worker.running),
        output.number(worker.concurrency),
        memory(worker),
        output.duration(max(0.0, now - worker.started_at)),
        output.duration(due) if due > 0 else "overdue",
        worker.version,
        ", ".join(worker.queues) or "*",
    ]
