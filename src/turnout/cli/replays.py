"""What `turnout dead` does with replays: its options, and beginning, listing and stopping them.

The invariant: a replay is begun only for jobs that were named by a filter or by `--all`.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from turnout.cli import output
from turnout.cli.act import Chosen, check_choice, confirm
from turnout.cli.filters import LENGTH, in_words
from turnout.cli.noting import note
from turnout.cli.options import user
from turnout.job import State
from turnout.replay import Plan, Replay
from turnout.replays import Replays
from turnout.search import Query

if TYPE_CHECKING:
    from collections.abc import Callable

    from turnout.job import JobFilter
    from turnout.store.protocol import Store

    Shares = click.ParamType[float]
else:
    Shares = click.ParamType  # older clicks' is not generic


class Share(Shares):
    """A share, written 30% or 0.3."""

    name = "share"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Return a number above 0 and at most 1, or refuse."""
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = 0.0
        if not 0 < share <= 1:
            self.fail(f"{value!r} is no share; write 30% or 0.3", param, ctx)
        return share


_SHARE = Share()
_OPTIONS = (
    click.option("--rate", type=float, metavar="N", help="So many jobs a second."),
    click.option("--canary", type=int, metavar="N", help="First so many, and see how they do."),
    click.option(
        "--canary-share", type=_SHARE, metavar="SHARE", help="Of them must succeed [90%]."
    ),
    click.option("--canary-within", type=LENGTH, help="After they were sent, so soon [5m]."),
    click.option(
        "--stop-at", type=_SHARE, metavar="SHARE", help="Stop when so many of the last 100 fail."
    ),
)


def plan_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a replay; they reach `acting` as `plan`, None where none was given."""
    names = ("rate", "canary", "canary_share", "canary_within", "stop_at")

    @wraps(command)
    def run(*args: Any, **options: Any) -> Any:
        found = {name: options.pop(name, None) for name in names}
        given = {name: value for name, value in found.items() if value is not None}
        return command(*args, plan=Plan(**given) if given else None, **options)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def begin_replay(store: Store, chosen: Chosen, plan: Plan) -> None:
    """Begin a replay of dead jobs, once a person has seen how many."""
    check_choice(chosen)
    if chosen.ids:
        raise click.UsageError("a replay takes filters or --all; named jobs are retried at once")
    plan.check()
    where = _dead(chosen.where)
    confirm(store, "retry", where, yes=chosen.yes)
    replay = Replays(store).start(_query(where), plan, by=user())
    note(store, "replay", f"{replay.id}: {in_words(where)}", replay.expected)
    if chosen.as_json:
        output.print_json(replay)
        return
    click.echo(f"replay {replay.id}: {_expected(replay)} to go; see turnout dead replays")
    if not store.workers():
        click.echo("no worker is running: it begins when one does", err=True)


def list_replays(store: Store, *, as_json: bool) -> None:
    """Print the replays."""
    found = Replays(store).all()
    if as_json:
        output.print_json(found)
        return
    for one in found:
        told = f"{one.succeeded:,} well, {one.failed:,} failed"
        why = f" ({output.one_line(one.why)})" if one.why else ""
        text = output.one_line(one.query.text or "dead jobs")
        click.echo(f"{one.id} {one.phase}{why}: {one.sent:,} of {_expected(one)}, {told}: {text}")
    if not found:
        click.echo("nothing was replayed lately")


def stop_replay(store: Store, replay_id: str) -> None:
    """Stop a replay; exits 1 where there is none of this id."""
    stopped = Replays(store).stop(replay_id, by=user())
    if stopped is None:
        click.echo(f"there is no replay {output.one_line(replay_id)}", err=True)
        click.get_current_context().exit(1)
    else:
        note(store, "stop replay", stopped.id, stopped.sent)
        click.echo(f"{stopped.id} {stopped.phase}: {output.plural(stopped.sent, 'job')} sent")


def _expected(replay: Replay) -> str:
    return output.plural(replay.expected, "job") + (" or more" if replay.expected_more else "")


def _dead(where: JobFilter) -> JobFilter:
    from msgspec.structs import replace

    return replace(where, states=(State.DEAD,))


def _query(where: JobFilter) -> Query:
    return Query(
        text=in_words(where),
        states=where.states,
        tasks=None if where.task is None else (where.task,),
        queues=None if where.queue is None else (where.queue,),
        error=where.error,
        before=where.before,
        since=where.since,
    )
