"""How things look: tables for terminals, aligned text for pipes, one JSON document for programs.

The invariant: nothing that a job carries (names, messages, tracebacks) can move a person's cursor,
colour their terminal or be taken for markup. rich is imported only when a terminal is there to
see it.
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.job import JobRecord

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_JSON_FIELDS = ("args", "result", "progress", "context")


def is_terminal() -> bool:
    """Tell whether a person reads stdout."""
    return sys.stdout.isatty()


def is_interactive() -> bool:
    """Tell whether a person can be asked: stdin and stderr are terminals."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def clean(text: str) -> str:
    """Return text with control characters, bidi overrides and lone surrogates made visible."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Return `clean` text on one line."""
    return " ".join(clean(text).split())


def print_json(value: Any, *, compact: bool = False) -> None:
    """Print one JSON document: indented, or on one line."""
    text = msgspec.json.encode(value)
    click.echo((text if compact else msgspec.json.format(text, indent=2)).decode())


def record_as_json(record: JobRecord) -> dict[str, Any]:
    """Return a job's record as plain values, what was JSON text in it as JSON."""
    fields: dict[str, Any] = msgspec.to_builtins(record)
    for name in _JSON_FIELDS:
        if fields[name] is not None:
            fields[name] = msgspec.Raw(fields[name].encode("utf-8", "backslashreplace"))
    return fields


def print_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str] = ()
) -> None:
    """Print rows under headers; `numbers` names the headers whose columns align right."""
    right = [header in numbers for header in headers]
    rows = [[one_line(cell) for cell in row] for row in rows]
    if is_terminal():
        from rich.console import Console

        Console().print(rich_table(headers, rows, right))
    else:
        click.echo(plain_table(headers, rows, right))


def rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> Any:
    """Return a table for a terminal; cells are plain text, never markup."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for header, is_number in zip(headers, right, strict=True):
        justify: Any = "right" if is_number else "left"
        # An id that is broken over two lines cannot be copied.
        table.add_column(header, justify=justify, overflow="fold", no_wrap=header == "id")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def plain_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]
) -> str:
    """Return aligned lines, two spaces between columns."""
    lines = [list(headers), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_plain_line(line, widths, right) for line in lines)


def _plain_line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    parts = zip(cells, widths, right, strict=True)
    return "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in parts).rstrip()


def number(value: int) -> str:
    """Return a count as people read it."""
    return f"{value:,}"


def plural(count: int, word: str) -> str:
    """Return "1 job", "2 jobs"."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units: 120ms, 45s, 3m 12s, 2h 5m, 4d 3h."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1_000:.0f}ms"
    rest, parts = round(seconds), list[str]()
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count}{unit}")
    return " ".join(p for p in parts[:2] if not p.startswith("0"))


def ago(moment: float | None, now: float) -> str:
    """Return "3m 12s ago", "in 5s", or "" for None."""
    if moment is None:
        return ""
    return f"in {duration(moment - now)}" if moment > now else f"{duration(now - moment)} ago"


def clock(moment: float | None) -> str:
    """Return a time in the person's own zone, with the zone; "" for None.

    What lies beyond the calendar (the year 9999) is given as seconds since the epoch.
    """
    if moment is None:
        return ""
    try:
        local = datetime.fromtimestamp(moment, tz=UTC).astimezone()
    except (ValueError, OverflowError, OSError):
        return f"{moment:.0f} s since the epoch"
    return local.isoformat(sep=" ", timespec="milliseconds")
