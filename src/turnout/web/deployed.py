"""Deploys as charts show them: where a line stands and what it says, lines that would touch as one.

The invariant: lines stand `NEAR` or more apart and name at most `MOST_SAID` deploys each, so that a
chart stays small however many there were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from markupsafe import Markup

from turnout.web.wording import exact, plain, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from turnout.deploys import Deploy

NEAR = 4.0  # units of a chart's width
MOST_SAID = 5  # deploys of one line
MOST_LISTED = 8


class Flag(msgspec.Struct, frozen=True):
    """What a chart says of one deploy."""

    at: float
    said: str


def flags_of(deploys: Sequence[Deploy], now: float) -> list[Flag]:
    """Return deploys as a chart takes them, oldest first."""
    return [Flag(one.at, said(one, now)) for one in sorted(deploys, key=lambda one: one.at)]


def said(deploy: Deploy, now: float) -> str:
    """Return "v1.42, 14:03 UTC, by ann", with the date where it is not today's."""
    by = f", by {deploy.by}" if deploy.by else ""
    return str(plain(f"{deploy.label}, {_time(deploy.at, now)}{by}"))


def _time(moment: float, now: float) -> str:
    day, _, clock = exact(moment).partition(" ")
    if not clock.endswith("UTC"):  # beyond the calendar
        return exact(moment)
    short = f"{clock[:5]} UTC"
    return short if exact(now).startswith(day) else f"{day} {short}"


def in_words(flags: Sequence[Flag]) -> str:
    """Return what a reader who sees no lines is told of them, the newest first; "" for none."""
    if not flags:
        return ""
    return f". {plural(len(flags), 'deploy')}: {_joined(flags)}"


def lines(
    flags: Sequence[Flag], place: Callable[[float], float], top: float, floor: float
) -> Markup:
    """Return the lines of a chart, each with what is said when it is pointed at."""
    drawn = Markup("")
    for x, near in _grouped(flags, place):
        drawn += Markup(
            '<g class="deploy"><title>{said}</title>'
            '<rect x="{left:.1f}" y="{top}" width="{wide}" height="{height}"/>'
            '<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{floor}"/></g>'
        ).format(
            said=_joined(near), x=x, left=x - NEAR, wide=2 * NEAR, top=top, floor=floor,
            height=floor - top,
        )  # fmt: skip
    return drawn


def _grouped(
    flags: Sequence[Flag], place: Callable[[float], float]
) -> list[tuple[float, list[Flag]]]:
    groups: list[tuple[float, list[Flag]]] = []
    for flag in flags:
        x = place(flag.at)
        if groups and x - groups[-1][0] < NEAR:
            groups[-1][1].append(flag)
        else:
            groups.append((x, [flag]))
    return groups


def _joined(flags: Sequence[Flag]) -> str:
    newest = [one.said for one in reversed(flags)]
    more = len(newest) - MOST_SAID
    return "; ".join(newest[:MOST_SAID]) + (f"; and {more} more" if more > 0 else "")
