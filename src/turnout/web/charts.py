"""Charts as SVG, drawn on the server: they need no script and print like text.

Colours come from the stylesheet by class. The invariant: only numbers and escaped labels enter the
markup, and every chart says in words what it shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from turnout.web import deployed
from turnout.web.wording import duration, number, short_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.web.deployed import Flag

Point = tuple[float, float]
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 600, 150, 44, 20, 10
MOST_POINTS = 180
_STEPS = (2, 4, 6, 10)  # even, so that the middle of an axis is a whole number too


def area(points: Sequence[Point], *, title: str, kind: str, flags: Sequence[Flag] = ()) -> Markup:
    """Return a chart over time; `points` are (seconds, value), oldest first, as `flags` are."""
    if len(points) < 2:  # noqa: PLR2004 - a line has two ends
        return Markup("")
    points = thinned(points)
    first, last = points[0][0], points[-1][0]
    top = _nice(max(value for _, value in points))
    flags = [flag for flag in flags if flag.at >= first]
    floor = HEIGHT - BOTTOM

    def across(moment: float) -> float:
        # The last point stands where its step began: what came since is at the edge, "now".
        return LEFT + min((moment - first) / ((last - first) or 1.0), 1.0) * (WIDTH - LEFT)

    line = " ".join(f"{across(at):.1f},{_height(value / top):.1f}" for at, value in points)
    said = f"{title}: now {number(points[-1][1])}, at most {number(max(v for _, v in points))}"
    return Markup(
        '<svg class="chart {kind}" viewBox="0 0 {w} {h}" role="img" aria-label="{said}, over the '
        'last {span}{deploys}"><title>{said}</title>{grid}'
        '<polygon class="fill" points="{left},{floor} {line} {w},{floor}"/>'
        '<polyline class="line" points="{line}"/>{marks}'
        '<text class="axis" x="{left}" y="{base}">{span} ago</text>'
        '<text class="axis end" x="{w}" y="{base}">now</text></svg>'
    ).format(
        kind=kind, w=WIDTH, h=HEIGHT, said=said, span=duration(last - first), grid=_grid(top),
        line=line, floor=floor, left=LEFT, base=HEIGHT - 5, deploys=deployed.in_words(flags),
        marks=deployed.lines(flags, across, TOP, floor),
    )  # fmt: skip


def _height(share: float) -> float:
    return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)


def _grid(top: float) -> Markup:
    lines = Markup("")
    for share in (0, 0.5, 1):
        y = _height(share)
        lines += Markup(
            '<line class="grid" x1="{left}" x2="{w}" y1="{y:.1f}" y2="{y:.1f}"/>'
            '<text class="axis end" x="{label}" y="{text:.1f}">{said}</text>'
        ).format(
            left=LEFT, w=WIDTH, y=y, label=LEFT - 6, text=y + 4, said=short_number(top * share)
        )
    return lines


def spark(values: Sequence[float], *, title: str, kind: str = "") -> Markup:
    """Return a line without axes, for a table's cell; nothing for fewer than two values."""
    if len(values) < 2:  # noqa: PLR2004 - a line has two ends
        return Markup("")
    values = [value for _, value in thinned(list(enumerate(values)), 60)]
    top = max(values) or 1.0
    step = 96 / (len(values) - 1)
    line = " ".join(
        f"{2 + at * step:.1f},{22 - value / top * 20:.1f}" for at, value in enumerate(values)
    )
    return Markup(
        '<svg class="spark {}" viewBox="0 0 100 24" role="img" aria-label="{}">'
        '<polyline class="line" points="{}"/></svg>'
    ).format(kind, title, line)


def bars(counts: Sequence[int], *, title: str) -> Markup:
    """Return bars side by side: how often something happened over time, or took how long."""
    top = max(counts, default=0) or 1
    width = 100 / max(len(counts), 1)
    drawn = Markup("").join(
        Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
            at * width, 24 - count / top * 22, width * 0.8, count / top * 22
        )
        for at, count in enumerate(counts)
        if count
    )
    return Markup(
        '<svg class="bars" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" '
        'aria-label="{}">'
        '<line class="grid" x1="0" x2="100" y1="23.5" y2="23.5"/>{}</svg>'
    ).format(title, drawn)


def gauge(part: float, whole: float, *, title: str, kind: str = "") -> Markup:
    """Return a bar filled by `part` of `whole`."""
    share = min(max(part / whole, 0.0), 1.0) * 100 if whole else 0.0
    return Markup(
        '<svg class="gauge {}" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" '
        'aria-label="{}"><rect class="back" width="100" height="6"/>'
        '<rect class="front" width="{:.1f}" height="6"/></svg>'
    ).format(kind, title, share)


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """Return at most `most` points: of each stretch the largest, so that no peak is lost."""
    if len(points) <= most:
        return list(points)
    size = -(-len(points) // (most - 1))
    kept = [
        max(points[at : at + size], key=lambda point: point[1])
        for at in range(0, len(points) - 1, size)
    ]
    return [*kept, points[-1]]


def _nice(value: float) -> float:
    """Return a round number at or above `value`, for the top of an axis."""
    size = 1.0
    while size * _STEPS[-1] < value:
        size *= 10
    return next(size * step for step in _STEPS if size * step >= value)
