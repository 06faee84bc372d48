"""How `turnout top` looks, which key does what, and in which table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout.cli import listing, status, workers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.binding import BindingType

    from turnout.cli.top.looking import View

TABS: dict[View, tuple[Sequence[str], Sequence[str]]] = {
    "queues": (status.HEADERS, status.NUMBERS),
    "workers": (workers.HEADERS, workers.NUMBERS),
    "jobs": (listing.HEADERS, ("attempt",)),
    "dead": (listing.HEADERS, ("attempt",)),
}
VIEWS: dict[str, tuple[View, ...]] = {
    "pause": ("queues",),
    "order": ("workers",),
    "change": ("jobs", "dead"),
    "mark": ("jobs", "dead"),
    "filter": ("jobs", "dead"),
    "older": ("jobs", "dead"),
    "newest": ("jobs", "dead"),
}
CHANGES = ("pause", "order", "change")

CSS = """
#where { color: $text-muted; height: 1; padding: 0 1; }
#sums { text-style: bold; height: 1; padding: 0 1; }
#fault { background: $error; color: $text; padding: 0 1; display: none; }
#page { color: $text-muted; height: auto; max-height: 3; padding: 0 1; }
#below { height: auto; }
#filter { display: none; }
TabbedContent { height: 1fr; }
TabPane { padding: 0; }
Rows { height: 1fr; }
Confirm, Story { align: center middle; }
#box { background: $surface; border: round $primary; padding: 1 2; width: auto;
       max-width: 90%; height: auto; max-height: 90%; }
Story #box { width: 90%; }
"""
BINDINGS: list[BindingType] = [
    ("1", "view('queues')", "queues"),
    ("2", "view('workers')", "workers"),
    ("3", "view('jobs')", "jobs"),
    ("4", "view('dead')", "dead"),
    ("p", "pause", "pause/resume"),
    ("t", "order('quiet')", "quiet"),
    ("s", "order('stop')", "stop"),
    ("slash", "filter", "filter"),
    ("space", "mark", "mark"),
    ("r", "change('retry')", "retry"),
    ("c", "change('cancel')", "cancel"),
    ("x", "change('delete')", "delete"),
    ("n", "older", "older"),
    ("b", "newest", "newest"),
    ("question_mark", "keys", "keys"),
    ("q", "quit", "quit"),
]
