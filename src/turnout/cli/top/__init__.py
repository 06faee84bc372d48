"""`turnout top`: what happens in a store, live in a terminal, with the actions of a person on duty.

The invariant: nothing is drawn where nobody can see it or type, and Textual is imported by this
command alone.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from turnout.cli.filters import LENGTH
from turnout.cli.locate import find_url
from turnout.cli.options import app_option, examples, url_option
from turnout.errors import ConfigError

if TYPE_CHECKING:
    from turnout.cli.top.app import Top

_CLOSEST, _FURTHEST = 0.2, 3_600.0  # seconds between two looks


def _checked_interval(ctx: click.Context, param: click.Parameter, seconds: float) -> float:
    if not _CLOSEST <= seconds <= _FURTHEST:
        msg = f"two looks are 0.2 s to 1 h apart, got {seconds:g} s"
        raise click.BadParameter(msg, ctx, param)
    return seconds


@click.command(
    epilog=examples("turnout top --app shop.jobs", "turnout top --interval 5s --read-only")
)
@url_option
@app_option
@click.option(
    "--interval", type=LENGTH, default="1s", show_default=True, callback=_checked_interval,
    help="Time between two looks: 0.2s to 1h.",
)  # fmt: skip
@click.option("--read-only", is_flag=True, help="Show everything, change nothing.")
def top(*, url: str | None, app: str | None, interval: float, read_only: bool) -> None:
    """Watch queues, workers, jobs and the dead in the terminal, and act on them.

    Press ? for the keys.
    """
    if not all(one.isatty() for one in (sys.stdin, sys.stdout, sys.stderr)):
        msg = (
            "turnout top draws on a terminal, and standard input, output or error is none here; "
            "say turnout status, turnout status --watch, or turnout status --json"
        )
        raise ConfigError(msg)
    shown = _load()(find_url(url, app), interval=interval, read_only=read_only)
    shown.run()
    if shown.fault is not None:
        raise shown.fault


def _load() -> type[Top]:
    try:
        from turnout.cli.top.app import Top
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("turnout"):
            raise
        msg = (
            f"turnout top needs {error.name}: pip install 'turnout[top]'; "
            "turnout status --watch does without"
        )
        raise ConfigError(msg) from error
    return Top
