"""Tables: drawn on a terminal, plain text everywhere else."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

_console = Console(highlight=False)


def say(text: str) -> None:
    print(text, flush=True)


def table(title: str, head: list[str], rows: list[list[str]]) -> None:
    if _console.is_terminal:
        _drawn(title, head, rows)
    else:
        _plain(title, head, rows)


def _drawn(title: str, head: list[str], rows: list[list[str]]) -> None:
    drawn = Table(title=title, title_justify="left", title_style="bold")
    for column in head:
        drawn.add_column(column)
    for row in rows:
        style = "red" if "FAILED" in row else None
        drawn.add_row(*row, style=style)
    _console.print(drawn)


def _plain(title: str, head: list[str], rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    say(f"\n{title}")
    for row in [head, ["-" * width for width in widths], *rows]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        say("  ".join(cells).rstrip())
