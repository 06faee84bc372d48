"""Draws a comparison: one SVG of curves with their bands, and a page (HTML) around it.

Both stand alone: no script, no font and no file is fetched. Invariant: names from the scenario are
escaped wherever they appear.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from turnout.sim.measure import Band, Summary
from turnout.sim.scenario import Scenario

__all__ = ["html_page", "svg"]

_WIDTH, _PANEL, _LEFT, _RIGHT, _TOP = 900, 220, 64, 16, 34
_PLOT = _WIDTH - _LEFT - _RIGHT
# Told apart by eyes that do not see red and green too (after Okabe and Ito).
_COLOURS = ("#d55e00", "#e69f00", "#b07aa1", "#7f7f7f", "#56b4e9", "#009e73", "#0072b2", "#000000")
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #1a1a1a; background: #fff }
table { border-collapse: collapse; font-size: 14px; width: 100% }
td { font-variant-numeric: tabular-nums }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
svg { width: 100%; height: auto }
""".strip()


def html_page(scenario: Scenario, rows: Sequence[Sequence[str]], picture: str) -> str:
    """Return a page with the table (its first row are headers) and the picture."""
    head, *body = rows
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body
    )
    title = escape(scenario.name)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
{_STYLE}
</style>
<h1>{title}</h1>
<p>{escape(told(scenario))}</p>
{picture}
<p>Lines are medians of {scenario.seeds} runs; 90 % of the runs lie within the shade.</p>
<table>
<tr>{cells}</tr>
{lines}
</table>
</html>
"""


def told(scenario: Scenario) -> str:
    """Return the experiment in a sentence or two."""
    arrivals, service = scenario.arrivals, scenario.service
    share = arrivals.rate / service.capacity
    text = (
        f"{arrivals.rate:g} jobs a second arrive ({arrivals.shape}), {share:.0%} of what the "
        f"service can do: {service.knee} calls at once of {service.time:g} s each. "
        f"{scenario.workers} workers, each call given up after {service.timeout:g} s."
    )
    for fault in scenario.faults:
        text += f" {fault.kind.capitalize()} from {fault.at:g} s to {fault.ends:g} s."
    return text


def svg(scenario: Scenario, summaries: Sequence[Summary]) -> str:
    """Return two panels over time: goodput, and the age of the oldest unfinished job."""
    legend_rows = (len(summaries) + 2) // 3
    top = _TOP + 22 * legend_rows
    height = top + 2 * (_PANEL + 60)
    panels = [
        _panel(scenario, top, "goodput, jobs a second", [one.goodput_curve for one in summaries]),
        _panel(
            scenario,
            top + _PANEL + 60,
            "age of the oldest unfinished job, seconds",
            [one.oldest_curve for one in summaries],
        ),
    ]
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
                'font-family="system-ui, sans-serif" font-size="13">'
            ),
            f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
            f'<text x="{_LEFT}" y="20" font-size="16">{escape(scenario.name)}</text>',
            *_legend(summaries),
            *panels,
            "</svg>",
        ]
    )


def _legend(summaries: Sequence[Summary]) -> list[str]:
    parts = []
    for number, one in enumerate(summaries):
        x, y = _LEFT + (number % 3) * 275, _TOP + 12 + 22 * (number // 3)
        parts.append(
            f'<rect x="{x}" y="{y - 9}" width="18" height="6" fill="{_colour(number)}"/>'
            f'<text x="{x + 24}" y="{y - 1}">{escape(one.name)}</text>'
        )
    return parts


def _panel(scenario: Scenario, top: float, title: str, curves: Sequence[Sequence[Band]]) -> str:
    most = max((band.high for curve in curves for band in curve), default=0.0)
    step = _step(most)
    scale = _Scale(top + 20, scenario.duration, max(step, most), scenario.healthy.window)
    parts = [f'<text x="{_LEFT}" y="{top + 8:.0f}" fill="#444">{escape(title)}</text>']
    for fault in scenario.faults:
        x, width = scale.x(fault.at), scale.x(fault.ends) - scale.x(fault.at)
        parts.append(
            f'<rect x="{x:.1f}" y="{scale.top:.1f}" width="{width:.1f}" height="{_PANEL - 20}" '
            f'fill="#f2d7d5"><title>{escape(fault.kind)}</title></rect>'
        )
    parts += scale.axes(step)
    for number, curve in enumerate(curves):
        parts += scale.curve(curve, _colour(number))
    return "\n".join(parts)


class _Scale:
    """Where a moment and a value lie in one panel."""

    def __init__(self, top: float, duration: float, most: float, window: float) -> None:
        self.top = top
        self.duration = duration
        self.most = most
        self.window = window
        self.bottom = top + _PANEL - 20

    def x(self, moment: float) -> float:
        return _LEFT + _PLOT * moment / self.duration

    def y(self, value: float) -> float:
        return self.bottom - (self.bottom - self.top) * value / self.most

    def axes(self, step: float) -> list[str]:
        parts = []
        for number in range(int(self.most / step) + 1):
            y = self.y(number * step)
            parts.append(
                f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                f'stroke="#e5e5e5"/><text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" '
                f'fill="#444">{number * step:g}</text>'
            )
        across = _step(self.duration)
        parts += [
            f'<text x="{self.x(number * across):.1f}" y="{self.bottom + 18:.1f}" '
            f'text-anchor="middle" fill="#444">{number * across:g} s</text>'
            for number in range(int(self.duration / across) + 1)
        ]
        return parts

    def curve(self, curve: Sequence[Band], colour: str) -> list[str]:
        if not curve:
            return []
        at = [self.x((number + 0.5) * self.window) for number in range(len(curve))]
        line = _points(zip(at, (self.y(band.median) for band in curve), strict=True))
        upper = [*zip(at, (self.y(band.high) for band in curve), strict=True)]
        lower = [*zip(at, (self.y(band.low) for band in curve), strict=True)]
        around = _points([*upper, *reversed(lower)])
        return [
            f'<polygon points="{around}" fill="{colour}" fill-opacity="0.15"/>',
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.8"/>',
        ]


def _points(pairs: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)


def _step(most: float) -> float:
    """Return a round distance of which four to nine make up `most`."""
    size = 1.0
    while size * 10 <= most / 4:
        size *= 10
    while size > most / 4 and size > 1e-6:  # noqa: PLR2004
        size /= 10
    return next((size * n for n in (1, 2, 5, 10) if most / (size * n) <= 9), size)  # noqa: PLR2004


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
