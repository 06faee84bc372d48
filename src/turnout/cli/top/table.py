"""A table that is filled anew every second without moving what a person looks at.

The invariant: the cursor stays on its row as long as that row is there, and marks belong to rows,
not to places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual.widgets import DataTable

from turnout.cli import output

if TYPE_CHECKING:
    from collections.abc import Sequence

MARK = "●"
_COLOURS = {
    "dead": "red", "paused": "yellow", "overdue": "red", "running": "green", "quiet": "yellow",
    "stopping": "yellow", "retrying": "yellow",
}  # fmt: skip


class Rows(DataTable[Text]):
    """Rows under fixed headers, each with a key."""

    def __init__(self, name: str, headers: Sequence[str], numbers: Sequence[str]) -> None:
        super().__init__(cursor_type="row", zebra_stripes=True, id=f"{name}-table")
        self._headers = headers
        self._numbers = numbers
        self._shown: list[tuple[str, tuple[str, ...]]] = []
        self.marked: set[str] = set()

    def on_mount(self) -> None:
        """Make the columns; the first is for marks."""
        self.add_column("", key="mark", width=1)
        for header in self._headers:
            title = Text(header, justify="right" if header in self._numbers else "left")
            self.add_column(title, key=header or "note")

    @property
    def current(self) -> str | None:
        """The key of the row under the cursor."""
        return self._shown[self.cursor_row][0] if self.cursor_row < len(self._shown) else None

    @property
    def chosen(self) -> list[str]:
        """The marked rows that are in sight, else the one under the cursor."""
        marked = [key for key, _ in self._shown if key in self.marked]
        return marked or [key for key in [self.current] if key is not None]

    def toggle(self) -> None:
        """Mark the row under the cursor, or take its mark away, and go to the next."""
        if self.current is not None:
            self.marked ^= {self.current}
            self.show(self._plain(), force=True)
            self.action_cursor_down()

    def _plain(self) -> list[tuple[str, Sequence[str]]]:
        return [(key, cells) for key, cells in self._shown]

    def show(self, rows: Sequence[tuple[str, Sequence[str]]], *, force: bool = False) -> None:
        """Show these rows; `force` draws them though they are the same."""
        fresh = [(key, tuple(output.one_line(cell) for cell in cells)) for key, cells in rows]
        if fresh == self._shown and not force:
            return
        keys = [key for key, _ in fresh]
        self.marked &= set(keys)
        if keys == [key for key, _ in self._shown]:
            for key, cells in fresh:
                self._update(key, cells)
        else:
            self._fill(fresh, keys)
        self._shown = fresh

    def _update(self, key: str, cells: Sequence[str]) -> None:
        for column, cell in zip(self.columns, self._styled(key, cells), strict=True):
            if self.get_cell(key, column) != cell:
                self.update_cell(key, column, cell, update_width=True)

    def _fill(self, fresh: Sequence[tuple[str, tuple[str, ...]]], keys: list[str]) -> None:
        current, place, scroll = self.current, self.cursor_row, self.scroll_y
        self.clear()
        for key, cells in fresh:
            self.add_row(*self._styled(key, cells), key=key)
        if current in keys:
            place = keys.index(current)
        self.move_cursor(row=max(0, min(place, len(keys) - 1)), animate=False)
        self.scroll_to(y=scroll, animate=False)

    def _styled(self, key: str, cells: Sequence[str]) -> list[Text]:
        mark = Text(MARK if key in self.marked else " ", style="bold")
        return [mark, *map(self._cell, self._headers, cells)]

    def _cell(self, header: str, cell: str) -> Text:
        justify: Any = "right" if header in self._numbers else "left"
        colour = _COLOURS.get(cell, "") if header in ("state", "", "beat due") else ""
        return Text(cell, style=colour, justify=justify, no_wrap=True)
