"""The options of `turnout worker` about its processes: when they are replaced, who may ask.

The invariant: sizes are bytes and times are seconds by the time anybody else sees them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from turnout.cli.filters import LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable

    Bytes = click.ParamType[int]
else:
    Bytes = click.ParamType  # older clicks' is not generic

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]i?|)b?", re.ASCII | re.IGNORECASE)


class Size(Bytes):
    """An amount of memory, as bytes."""

    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """Return bytes for "500MB", "2GiB" or "500000000", or refuse."""
        found = _SIZE.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is no size; write 500MB, 2GB or 512MiB", param, ctx)
        return int(float(found[1]) * _UNITS[found[2].lower()])


_SHORTEST, _LONGEST = 2.0, 3_600.0  # seconds that a lease may last


def _checked_lease(ctx: click.Context, param: click.Parameter, seconds: float) -> float:
    if not _SHORTEST <= seconds <= _LONGEST:
        msg = f"a lease lasts 2 s to 1 h, got {seconds:g} s"
        raise click.BadParameter(msg, ctx, param)
    return seconds


_OPTIONS = (
    click.option(
        "--max-memory", type=Size(), metavar="SIZE",
        help="Replace a process that holds so much memory, such as 500MB.",
    ),
    click.option(
        "--max-age", type=LENGTH, metavar="TIME",
        help="Replace a process that is so old, such as 6h.",
    ),
    click.option(
        "--max-jobs", type=click.IntRange(1), metavar="N",
        help="Replace a process that has run so many jobs.",
    ),
    click.option(
        "--drain-timeout", type=LENGTH, metavar="TIME", default="1h", show_default=True,
        help="How long a replaced process may go on with its jobs before it is stopped.",
    ),
    click.option(
        "--lease", type=LENGTH, metavar="TIME", default="30s", show_default=True,
        callback=_checked_lease,
        help="How long a silent worker keeps its jobs: 2s to 1h. It sends a heartbeat six times "
        "as often, at least every 5 s.",
    ),
    click.option(
        "--health", metavar="HOST:PORT", envvar="TURNOUT_HEALTH",
        help="Answer GET /live, /ready and /status here; also :PORT, or a path.",
    ),
    click.option(
        "--metrics/--no-metrics", default=True,
        help="Keep how often and how long tasks run, for the dashboard and `turnout stats`.",
    ),
    click.option(
        "--redeliver", type=click.FloatRange(0, 1), metavar="SHARE", default=0.0,
        help="Run this share of the jobs that succeeded once more, to find those that are not "
        "idempotent; 0.02 is 2 %. Needs TURNOUT_ENV, such as staging.",
    ),
    click.option(
        "--redeliver-in-production", is_flag=True, help="Allow --redeliver in production too.",
    ),
)  # fmt: skip


def process_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add these options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
