"""Changing jobs from the command line: retry, cancel and delete, of named ones or of many.

Named jobs are changed one at a time, so that each that did not change can say why. Many are
changed in bounded batches. `delete` and `cancel` repeat until nothing is left to change; `retry`
walks the jobs once by id instead, because a retried job may be dead again before the walk ends,
and repeating would then never stop.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import click
import msgspec

from turnout.cli import output
from turnout.cli.filters import ids_filter, in_words, is_open
from turnout.cli.noting import note
from turnout.cli.options import json_option, with_store
from turnout.job import Action, JobFilter, JobId, JobRecord, State
from turnout.replay import Plan
from turnout.store.protocol import Store

BATCH = 1_000
PAST = {"retry": "retried", "cancel": "cancelled or asked to stop", "delete": "deleted"}


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asked to change, and how to talk about it."""

    ids: tuple[str, ...]
    where: JobFilter
    everything: bool
    yes: bool
    as_json: bool
    plan: Plan | None = None  # bit by bit, by workers


class Unchanged(msgspec.Struct, frozen=True):
    """A named job that did not change, and why."""

    id: str
    why: str


class Done(msgspec.Struct, frozen=True):
    """What was changed."""

    action: Action
    changed: int
    unchanged: list[Unchanged] = []


def acting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add IDs, --all, --yes and --json, and the store; the command gets (store, chosen).

    Filter options stand above this one: they hand it `where`.
    """

    @wraps(command)
    def run(store: Store, ids: tuple[str, ...], where: JobFilter, **rest: Any) -> Any:
        return command(store, Chosen(ids=ids, where=where, **rest))

    for option in (
        json_option,
        click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation."),
        click.option("--all", "everything", is_flag=True, help="Every job that the filters leave."),
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    ):
        run = option(run)
    return with_store(run)


def act(store: Store, action: Action, chosen: Chosen, *, states: tuple[State, ...] = ()) -> None:
    """Change what was chosen, narrowed to `states`, and report; exits 1 where a name missed."""
    check_choice(chosen)
    if chosen.ids:
        done = act_on_ids(store, action, chosen.ids, states)
        subject = f"jobs {', '.join(chosen.ids)}"
    else:
        where = msgspec.structs.replace(chosen.where, states=states or chosen.where.states)
        confirm(store, action, where, yes=chosen.yes)
        done = Done(action, act_on_all(store, action, where))
        subject = in_words(where)
    if done.changed:
        note(store, action, subject, done.changed)
    report(done, as_json=chosen.as_json)
    if done.unchanged or (not done.changed and not chosen.everything):
        click.get_current_context().exit(1)


def check_choice(chosen: Chosen) -> None:
    """Refuse ids together with filters, and nothing given at all."""
    if chosen.ids and (chosen.everything or not is_open(chosen.where)):
        raise click.UsageError("give ids, or filters, not both")
    if not chosen.ids and not chosen.everything and is_open(chosen.where):
        raise click.UsageError("which jobs? give ids, or a filter such as --task, or --all")


def act_on_ids(
    store: Store, action: Action, ids: tuple[str, ...], states: tuple[State, ...] = ()
) -> Done:
    """Change the jobs of these ids, one by one, and keep why some did not change."""
    distinct = list(dict.fromkeys(ids))
    unchanged = [
        Unchanged(job_id, _why_not(store, action, job_id, states))
        for job_id in distinct
        if not store.change(ids_filter(job_id, states=states), action)
    ]
    return Done(action, len(distinct) - len(unchanged), unchanged)


def _why_not(store: Store, action: Action, job_id: str, states: tuple[State, ...]) -> str:
    """Return why a job did not change, as far as its record tells."""
    found = store.find(ids_filter(job_id), limit=1)
    if not found:
        return "no trace of it is left here"
    record = found[0]
    if states and record.state not in states:
        return f"it is {record.state}, not {' or '.join(states)}"
    return _OBSTACLES[action](record)


def _no_retry(record: JobRecord) -> str:
    if record.state is State.SUCCEEDED:
        return "it succeeded; to run it again, enqueue it again"
    if record.state is State.RUNNING:
        return "it is running"
    if record.state is State.QUEUED:
        return "it is due already"
    return "another job holds its unique key by now"


def _no_cancel(record: JobRecord) -> str:
    if record.state is State.RUNNING:
        return "it was asked to stop already"
    return f"it is over: {record.state}"


def _no_delete(record: JobRecord) -> str:
    return f"it is {record.state}; only what does not run can be deleted: cancel it first"


_OBSTACLES = {"retry": _no_retry, "cancel": _no_cancel, "delete": _no_delete}


def confirm(store: Store, action: Action, where: JobFilter, *, yes: bool) -> None:
    """Ask a person at a terminal whether to go on, unless told `yes`.

    Raises click.Abort for an interrupt, and click.UsageError where there is nobody to ask; a plain
    "no" ends the command with exit code 1.
    """
    if yes:
        return
    if not output.is_interactive():
        msg = f"this may {action} many jobs and nobody can be asked: add --yes"
        raise click.UsageError(msg)
    total = _estimate(store, where)
    count = f"more than {BATCH:,}" if total is None else output.number(total)
    question = f"{action.capitalize()} {output.one_line(in_words(where))} ({count})?"
    if not click.confirm(question, err=True):
        click.echo("nothing was changed", err=True)
        click.get_current_context().exit(1)


def _estimate(store: Store, where: JobFilter) -> int | None:
    """Return how many jobs match; None for more than one batch."""
    found = len(store.find(where, limit=BATCH + 1))
    return found if found <= BATCH else None


def act_on_all(store: Store, action: Action, where: JobFilter) -> int:
    """Change every job that matches, in bounded batches under a progress bar; how many changed."""
    steps = _walk(store, where) if action == "retry" else _drain(store, action, where)
    changed = 0
    with _progress(action) as advance:
        for n in steps:
            changed += n
            advance(n)
    return changed


def _drain(store: Store, action: Action, where: JobFilter) -> Iterator[int]:
    while n := store.change(where, action, limit=BATCH):
        yield n


def _walk(store: Store, where: JobFilter) -> Iterator[int]:
    after: JobId | None = None
    while page := store.find(where, limit=BATCH, after=after):
        after = page[-1].id
        ids = tuple(record.id for record in page)
        yield store.change(msgspec.structs.replace(where, ids=ids), "retry", limit=BATCH)


@contextmanager
def _progress(action: Action) -> Generator[Callable[[int], None], None, None]:
    """Show what has been changed so far, on a terminal's stderr only."""
    if not sys.stderr.isatty():
        yield lambda _n: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,} jobs"))
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task(action, total=None)
        yield lambda n: bar.advance(task, n)


def report(done: Done, *, as_json: bool) -> None:
    """Say what was changed, and for each named job that was not, why."""
    if as_json:
        output.print_json(done)
        return
    for missed in done.unchanged:
        click.echo(f"{output.one_line(missed.id)}: {missed.why}", err=True)
    click.echo(f"{output.plural(done.changed, 'job')} {PAST[done.action]}")
