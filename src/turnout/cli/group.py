"""The root of the command line: finds commands lazily and turns errors into lines and exit codes.

A command's module is imported when that command is asked for, so that `turnout worker` starts
without the tables of `turnout status`. The invariant: whatever Turnout raises becomes one clear
line on stderr and a documented exit code; a traceback appears only with `--debug`, or where the
fault is not Turnout's.
"""

from __future__ import annotations

import traceback
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import click

from turnout import __version__
from turnout.errors import StoreBusy, StoreUnavailable, TurnoutError

FAULT, USAGE, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130

# Command -> the module under turnout.cli that holds a click command of the same name.
_COMMANDS = {
    name: name
    for name in (
        "worker", "workers", "relay", "web", "status", "top", "stats", "jobs", "dead", "queues",
        "limits", "enqueue", "deploy", "check", "migrate", "bench", "simulate", "chaos",
        "completion",
    )
}  # fmt: skip

_EPILOG = """\b
Exit codes:
  0    done
  1    a fault, or nothing matched where something was named
  2    the command line was not understood
  3    the store cannot be reached
  130  interrupted

\b
Which store a command means, in this order:
  --url URL, --app MODULE, $TURNOUT_URL, $TURNOUT_APP, ./jobs.db

\b
Example:
  turnout worker shop.jobs --queues critical,default
"""


class LazyGroup(click.Group):
    """A group whose commands are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Name the commands, in the order in which a person meets them."""
        return [n for n, module in _COMMANDS.items() if find_spec(f"turnout.cli.{module}")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None when there is none of this name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = import_module(f"turnout.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Turnout's own errors end it with a line and an exit code."""
        try:
            return super().invoke(ctx)
        except TurnoutError as error:
            if ctx.params.get("debug"):
                traceback.print_exception(error)
            click.echo(f"turnout: {error}", err=True)
            ctx.exit(exit_code(error))
        except (KeyboardInterrupt, click.Abort):
            click.echo("turnout: interrupted", err=True)
            ctx.exit(INTERRUPTED)


def exit_code(error: TurnoutError) -> int:
    """Return the exit code that stands for an error."""
    return UNREACHABLE if isinstance(error, StoreUnavailable | StoreBusy) else FAULT


@click.group(
    cls=LazyGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option("--debug", is_flag=True, envvar="TURNOUT_DEBUG", help="Show tracebacks of errors.")
@click.version_option(__version__, message="turnout %(version)s")
def main(*, debug: bool) -> None:
    """Run background jobs, see them, rescue them.

    Tables are for people at a terminal; --json prints one JSON document, with times in seconds
    since the epoch and durations in seconds.
    """
