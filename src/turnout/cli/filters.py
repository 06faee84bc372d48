"""Which jobs a command means: the filter options, and how lengths and points of time are written.

The invariant: everything given must hold; a command that changes jobs never takes "nothing given"
for "all of them".
"""

from __future__ import annotations

import re
import time
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, cast, get_args

import click

from turnout.job import JobFilter, JobId, State, View

if TYPE_CHECKING:
    from collections.abc import Callable

    Seconds = click.ParamType[float]
else:
    Seconds = click.ParamType  # older clicks' is not generic

VIEWS: tuple[str, ...] = get_args(View)
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw]?)", re.ASCII)


def parse_length(text: str) -> float | None:
    """Return seconds for "90", "90s", "15m", "1h", "2d", "1w", "1h30m"; None for anything else."""
    parts = list(_LENGTH.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        return None
    if len(parts) > 1 and not all(part[2] for part in parts):
        return None
    return sum(float(part[1]) * _UNITS[part[2] or "s"] for part in parts)


class Length(Seconds):
    """A length of time, as seconds."""

    name = "length"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Return seconds, or refuse."""
        seconds = value if isinstance(value, float) else parse_length(str(value).strip())
        if seconds is None:
            self.fail(f"{value!r} is no length of time; write 90s, 15m, 1h30m, 2d", param, ctx)
        return seconds


class Moment(Seconds):
    """A point of time: so long ago, or a date; without a zone it is the local one."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Return seconds since the epoch, or refuse."""
        if isinstance(value, float):
            return value
        seconds = parse_length(str(value).strip())
        if seconds is not None and seconds <= time.time():
            return time.time() - seconds
        try:
            return datetime.fromisoformat(value).astimezone().timestamp()
        except (ValueError, OverflowError, OSError):
            self.fail(
                f"{value!r} is no time; write 1h or 2d (ago), or 2025-06-01T12:00", param, ctx
            )


LENGTH, MOMENT = Length(), Moment()

_state = click.option(
    "-s",
    "--state",
    "states",
    multiple=True,
    type=click.Choice([*(state.value for state in State), *VIEWS]),
    help="Only in this state; may be repeated. ready, scheduled and retrying are queued ones.",
)
_others = (
    click.option("-q", "--queue", metavar="NAME", help="Only of this queue."),
    click.option("-t", "--task", metavar="NAME", help="Only of this task."),
    click.option("--error", metavar="NAME", help="Only with this last error, as `show` names it."),
    click.option("--since", type=MOMENT, help="Only enqueued since: 1h (ago), or a date."),
    click.option("--before", type=MOMENT, help="Only enqueued before: 2d (ago), or a date."),
)


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add every filter, --state included; the command gets `where`."""
    return _state(dead_filter_options(command))


def dead_filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add every filter but --state; the command gets `where`."""

    @wraps(command)
    def run(*args: Any, **options: Any) -> Any:
        names = ("states", "queue", "task", "error", "since", "before")
        where = make_filter(**{name: options.pop(name, None) for name in names})
        return command(*args, where=where, **options)

    for option in reversed(_others):
        run = option(run)
    return run


def make_filter(*, states: tuple[str, ...] | None, **fields: Any) -> JobFilter:
    """Return the filter that the options mean; a view stands alone."""
    views = [name for name in states or () if name in VIEWS]
    if not views:
        return JobFilter(states=tuple(State(name) for name in states or ()), **fields)
    if len(states or ()) > 1:
        msg = (
            f"--state {views[0]} narrows the queued jobs and cannot be joined with another --state"
        )
        raise click.UsageError(msg)
    return JobFilter(states=(State.QUEUED,), view=cast("View", views[0]), **fields)


def is_open(where: JobFilter) -> bool:
    """Tell whether a filter leaves every job in."""
    return where == JobFilter()


def in_words(where: JobFilter) -> str:
    """Return what a filter selects: "dead jobs in queue low with error KeyError"."""
    kinds = [where.view] if where.view else list(where.states)
    words = [*([" or ".join(kinds)] if kinds else []), "jobs"]
    for text, value in (
        ("in queue", where.queue),
        ("of task", where.task),
        ("with error", where.error),
    ):
        if value is not None:
            words += [text, value]
    for text, moment in (("enqueued since", where.since), ("enqueued before", where.before)):
        if moment is not None:
            words += [text, datetime.fromtimestamp(moment).astimezone().isoformat(" ", "seconds")]
    return " ".join(words)


def ids_filter(*ids: str, states: tuple[State, ...] = ()) -> JobFilter:
    """Return the filter for these ids."""
    return JobFilter(ids=tuple(map(JobId, ids)), states=states)
