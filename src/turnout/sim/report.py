"""A comparison as a table of words, and as plain values for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from turnout.sim.measure import Band, Summary
from turnout.sim.scenario import Scenario

__all__ = ["HEADERS", "as_json", "table"]

HEADERS = (
    *("policy", "recovered", "recovery", "attempts/job", "goodput/s"),
    *("done", "peak load", "at once", "oldest"),
)
_CURVES = {"goodput_curve", "oldest_curve"}


def table(summaries: Sequence[Summary]) -> list[list[str]]:
    """Return a row for each contender: the median, and in brackets where 90 % of the runs lie."""
    return [_row(one) for one in summaries]


def as_json(scenario: Scenario, summaries: Sequence[Summary]) -> dict[str, Any]:
    """Return the experiment and its figures; a recovery that never came is null."""
    return {
        "scenario": {
            "name": scenario.name,
            "duration": scenario.duration,
            "seeds": scenario.seeds,
            "workers": scenario.workers,
            "arrivals": msgspec.to_builtins(scenario.arrivals),
            "service": msgspec.to_builtins(scenario.service),
            "faults": msgspec.to_builtins(scenario.faults),
            "healthy": msgspec.to_builtins(scenario.healthy),
        },
        "band": "median, and the 5 % and 95 % quantiles of the runs",
        "policies": [_figures(one) for one in summaries],
    }


def _figures(one: Summary) -> dict[str, Any]:
    return {
        name: _rounded(getattr(one, name)) for name in one.__struct_fields__ if name not in _CURVES
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, Band):
        values = (value.low, value.median, value.high)
        low, median, high = (None if math.isinf(one) else round(one, 3) for one in values)
        return {"low": low, "median": median, "high": high}
    return value


def _row(one: Summary) -> list[str]:
    return [
        one.name,
        f"{one.recovered} of {one.runs}",
        _told(one.recovery, "{:.0f}", " s"),
        _told(one.attempts_per_job, "{:.2f}"),
        _told(one.goodput, "{:.1f}"),
        _told(Band(100 * one.done.low, 100 * one.done.median, 100 * one.done.high), "{:.0f}", " %"),
        _told(one.peak_load, "{:.1f}", "x"),
        f"{one.peak_running.high:.0f}",
        _told(one.oldest, "{:.0f}", " s"),
    ]


def _told(band: Band, form: str, unit: str = "") -> str:
    if math.isinf(band.median):
        return "never"
    low, median, high = (
        "never" if math.isinf(one) else form.format(one)
        for one in (band.low, band.median, band.high)
    )
    return f"{median}{unit}" if low == high == median else f"{median}{unit} ({low}-{high})"
