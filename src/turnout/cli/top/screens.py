"""What lies over the tables for a moment: a question, a job's whole story, the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.binding import BindingType

KEYS = """\
1 2 3 4   queues, workers, jobs, dead       up down j k   from row to row
/         filter jobs, by the query below   enter         all about a job
space     mark a job; actions take what is marked, else the row under the cursor
n b       the next page of jobs, and back to the newest

p         pause or resume the queue
t         quiet: the worker takes no more jobs
s         stop the worker: it finishes what runs, within its grace
r c x     retry, cancel, delete
q         leave

state:dead,retrying  task:shop.charge_*  queue:mail  error:CardError  age>1h  age<2d  id:...
Everything given must hold; a * may end the name of a queue, or of a task seen here.

What is lasting asks first: y goes on, anything else does not. Escape closes this."""


class Confirm(ModalScreen[bool]):
    """A question; y is yes, every other key is no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("y", "answer(True)", "yes"),
        ("n,escape,enter,q", "answer(False)", "no"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self.question = question

    def compose(self) -> ComposeResult:
        """Draw the question."""
        yield Static(f"{self.question}\n\ny  yes      n  no", markup=False, id="box")

    def action_answer(self, yes: bool) -> None:  # noqa: FBT001 - Textual passes it
        """Close with the answer."""
        self.dismiss(yes)


class Story(ModalScreen[None]):
    """A text that can be scrolled."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,q,enter,question_mark", "dismiss", "close"),
        ("j", "down", "down"),
        ("k", "up", "up"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def compose(self) -> ComposeResult:
        """Draw the text, as it is: nothing in it is markup."""
        with VerticalScroll(id="box"):
            yield Static(self.text, markup=False)

    def on_mount(self) -> None:
        """Let keys scroll it."""
        self.query_one(VerticalScroll).focus()

    def action_down(self) -> None:
        """Scroll down."""
        self.query_one(VerticalScroll).scroll_down(animate=False)

    def action_up(self) -> None:
        """Scroll up."""
        self.query_one(VerticalScroll).scroll_up(animate=False)
