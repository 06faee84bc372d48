"""How things read on the pages: lengths of time, points of time, counts, text without tricks.

The invariant: no text that a job carries reaches a page with control characters or bidirectional
overrides in it; escaping is the template's.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
_TRICKS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
SHOWN = 20_000  # characters of one text on a page; the JSON has it whole


def plain(value: Any) -> Any:
    """Return text with everything made visible that could mislead a reader; others unchanged."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return _TRICKS.sub(lambda found: f"\\u{ord(found[0]):04x}", value.replace("\r\n", "\n"))


def number(value: float) -> str:
    """Return a count with separators."""
    return f"{value:,.0f}"


def short_number(value: float) -> str:
    """Return a count for narrow places: 950, 12.3k, 4.5M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            base = 1e3 if unit == "k" else size
            return f"{value / base:.1f}".removesuffix(".0") + unit
    return number(value)


def plural(count: int, word: str) -> str:
    """Return "1 job", "2 jobs"."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units: 120 ms, 45s, 3m 12s, 2h 5m, 4d 3h."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1_000:.0f} ms"
    rest, parts = round(seconds), list[str]()
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count}{unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0"))


def distance(moment: float, now: float) -> str:
    """Return "3m 12s ago" or "in 5s"."""
    return f"in {duration(moment - now)}" if moment > now else f"{duration(now - moment)} ago"


def exact(moment: float) -> str:
    """Return a point of time in UTC, in words; beyond the calendar, seconds since the epoch."""
    try:
        return datetime.fromtimestamp(moment, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{moment:.0f} s since the epoch"


def time_tag(moment: float | None, now: float, *, whole: bool = False) -> Markup:
    """Return a <time> that reads as a distance, or with `whole` as date and distance."""
    if moment is None:
        return Markup('<span class="none">-</span>')
    said, near = exact(moment), distance(moment, now)
    machine = said.replace(" UTC", "Z").replace(" ", "T")
    text = f"{said} ({near})" if whole else near
    return Markup('<time datetime="{}" title="{}">{}</time>').format(machine, said, escape(text))


def cut(text: str, most: int = SHOWN) -> str:
    """Return at most `most` characters, saying how many more there are."""
    if len(text) <= most:
        return text
    return f"{text[:most]}\n… {len(text) - most:,} more characters; the JSON of this page has all"
