"""`turnout limits`: see what limits an application has, and open or close a dependency by hand."""

from __future__ import annotations

import click

from turnout import standing
from turnout.cli import output
from turnout.cli.noting import note
from turnout.cli.options import examples, json_option

_app = click.option(
    "-a", "--app", "target", envvar="TURNOUT_APP", required=True, metavar="MODULE",
    help="The application, such as shop.jobs [$TURNOUT_APP].",
)  # fmt: skip
_name = click.argument("name", metavar="DEPENDENCY")


@click.group(epilog=examples("turnout limits list -a shop.jobs", "turnout limits open stripe"))
def limits() -> None:
    """List limits and dependencies; open, close and reset a dependency."""


@limits.command("list", epilog=examples("turnout limits list -a shop.jobs --json"))
@_app
@json_option
def list_command(target: str, *, as_json: bool) -> None:
    """List the limits and how much of each is taken, and the dependencies."""
    from turnout.cli.locate import find_app

    app = find_app(target)
    try:
        limited, dependent = standing.limits(app), standing.dependencies(app)
    finally:
        app.close()
    if as_json:
        output.print_json({"limits": limited, "dependencies": dependent})
        return
    for one in limited:
        click.echo(f"{one.kind} {one.key}: {_taken(one)}")
    for each in dependent:
        click.echo(f"dependency {each.name}: {each.phase}, {each.calls:,} calls of {each.most:,}")


def _taken(limit: standing.Standing) -> str:
    if limit.by is not None:
        return f"{limit.most:,} for each {limit.by}"
    live = "?" if limit.live is None else f"{limit.live:,}"
    return f"{live} of {limit.most:,}"


@limits.command("open", epilog=examples("turnout limits open stripe -a shop.jobs"))
@_name
@_app
def open_command(name: str, target: str) -> None:
    """Let no call through until `turnout limits close`; its jobs wait."""
    _act(target, name, "open")


@limits.command("close", epilog=examples("turnout limits close stripe -a shop.jobs"))
@_name
@_app
def close_command(name: str, target: str) -> None:
    """Let calls through again."""
    _act(target, name, "close")


@limits.command("reset", epilog=examples("turnout limits reset stripe -a shop.jobs"))
@_name
@_app
def reset_command(name: str, target: str) -> None:
    """Forget all that was learnt of a dependency."""
    _act(target, name, "reset")


def _act(target: str, name: str, verb: str) -> None:
    from turnout.cli.locate import find_app
    from turnout.errors import ConfigError

    app = find_app(target)
    known = standing.watched(app)
    if name not in known:
        msg = f"{target} has no dependency {name!r}; it has: {', '.join(known) or 'none'}"
        raise ConfigError(msg)
    try:
        getattr(known[name], verb)()
        note(app.store, verb, f"dependency {name}")
        click.echo(f"{name}: {standing.phase(known[name])}")
    finally:
        app.close()
