"""`Top`: four tables over one store, refreshed while somebody looks.

    asking --(an answer)--> shown --(the interval)--> asking
       |--(StoreError)--> away: says so, keeps what it has, asks again

The invariant: this thread never talks to the store; questions go down the `Line` and come back as
messages, and at most one look is on its way.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import App
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Footer, Input, Static, TabbedContent, TabPane

from turnout.cli import listing, output, status, workers
from turnout.cli.locate import open_existing
from turnout.cli.top import acting, banner, looking
from turnout.cli.top.layout import BINDINGS, CHANGES, CSS, TABS, VIEWS
from turnout.cli.top.line import Answer, Line
from turnout.cli.top.screens import KEYS, Confirm, Story
from turnout.cli.top.table import Rows
from turnout.errors import StoreBusy, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from turnout.cli.top.looking import Seen, View
    from turnout.job import Action, JobId, Order


class Told(Message):
    """An answer has come."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


class Top(App[None]):
    """The program that `turnout top` runs."""

    ENABLE_COMMAND_PALETTE = False
    CSS = CSS
    BINDINGS: ClassVar[list[BindingType]] = [*BINDINGS]

    def __init__(self, url: str, *, interval: float = 1.0, read_only: bool = False) -> None:
        super().__init__()
        self._interval = interval
        self._read_only = read_only
        self._line = Line(partial(open_existing, url), self._hear)
        self._eye = looking.Eye()
        self._asked: float | None = None  # when the look that is on its way was asked for
        self._away: tuple[float, Exception] | None = None
        self._text = ""
        self._after: JobId | None = None
        self.seen: Seen | None = None
        self.fault: Exception | None = None

    # ---- the screen

    def compose(self) -> ComposeResult:
        """Draw the lines, the tables, the filter and the keys."""
        yield Static("", markup=False, id="where")
        yield Static("", markup=False, id="sums")
        yield Static("", markup=False, id="fault")
        with TabbedContent(initial="queues"):
            for name, (headers, numbers) in TABS.items():
                with TabPane(name.capitalize(), id=name):
                    yield Rows(name, headers, numbers)
        with Vertical(id="below"):
            yield Static("", markup=False, id="page")
            yield Input(placeholder="state:ready task:shop.charge queue:mail age>1h", id="filter")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self.table.focus()
        self.set_interval(self._interval, self.tick)
        self.set_interval(0.5, self._say_fault)
        self.tick()

    def on_unmount(self) -> None:
        """Let go of the store."""
        self._line.close()

    @property
    def _drawn(self) -> bool:
        # False while the screen is taken down: timers and answers still come then
        return bool(self.query("#where") and self.query(TabbedContent))

    @property
    def view(self) -> View:
        """Which table is in front."""
        return cast("View", self.query_one(TabbedContent).active or "queues")

    @property
    def table(self) -> Rows:
        """The table in front."""
        return self.query_one(f"#{self.view}-table", Rows)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Show and heed only the keys that mean something here."""
        del parameters
        if action in CHANGES and self._read_only:
            return False
        return action not in VIEWS or self.view in VIEWS[action]

    # ---- looking

    def tick(self) -> None:
        """Ask for a look, unless one is on its way."""
        if self._asked is not None or not self._drawn:
            return
        self._asked = time.time()
        ask = looking.Ask(self.view, self._text, self._after)
        self._line.ask("look", lambda store: self._eye.look(store, ask))

    def _hear(self, answer: Answer) -> None:
        self.post_message(Told(answer))  # may be called from the line's thread

    def on_told(self, message: Told) -> None:
        """Take an answer in."""
        if not self._drawn:
            return
        answer = message.answer
        if answer.kind == "look":
            asked, self._asked = self._asked, None
            self._looked(answer, asked or time.time())
        elif answer.error is not None:
            said = output.one_line(str(answer.error) or repr(answer.error))
            self.notify(said, severity="error", markup=False)
        elif answer.kind == "story":
            self.push_screen(Story(answer.value))
        else:
            self.notify(output.one_line(answer.value), markup=False)
            self.tick()

    def _looked(self, answer: Answer, asked: float) -> None:
        error = answer.error
        if isinstance(error, StoreUnavailable | StoreBusy):
            since = self._away[0] if self._away else asked
            self._away = (since, error)
        elif error is not None:
            self.fault = error  # not ours to wait for: a wrong URL, a newer schema, a bug
            self.exit()
        else:
            self._away = None
            self.seen = cast("looking.Seen", answer.value)
            self._draw(self.seen)
        self._say_fault()

    def _say_fault(self) -> None:
        if not self._drawn:
            return
        now = time.time()
        error = self._away[1] if self._away else None
        since = self._away[0] if self._away else self._asked or now
        last = self.seen.status.at if self.seen else None
        said = banner.fault(error, since, last, now)
        line = self.query_one("#fault", Static)
        line.update(said)
        line.display = bool(said)

    def _draw(self, seen: Seen) -> None:
        now = seen.status
        self.query_one("#where", Static).update(banner.where(now))
        self.query_one("#sums", Static).update(banner.sums(now))
        queues = zip(now.queues, status.queue_rows(now.queues, now.at), strict=True)
        self._rows("queues").show([(queue.queue, row) for queue, row in queues])
        staff = [(one.epoch, workers.worker_row(one, now.at)) for one in now.workers]
        self._rows("workers").show(staff)
        if seen.ask != looking.Ask(self.view, self._text, self._after):
            self.tick()  # meanwhile something else is wanted
            return
        if seen.found is not None:
            jobs = seen.found.jobs
            rows = zip((job.id for job in jobs), listing.job_rows(jobs), strict=True)
            self._rows(seen.ask.view).show(list(rows))
        self.query_one("#page", Static).update(banner.page(seen))

    def _rows(self, view: View) -> Rows:
        return self.query_one(f"#{view}-table", Rows)

    # ---- moving

    def action_view(self, view: View) -> None:
        """Bring a table to the front."""
        self.query_one(TabbedContent).active = view

    def on_tabbed_content_tab_activated(self) -> None:
        """Begin a table at its newest page."""
        self._after = None
        self.query_one("#filter", Input).display = bool(self._text) and self.view in (
            "jobs",
            "dead",
        )
        self.table.focus()
        self.refresh_bindings()
        self.tick()

    def on_key(self, event: Any) -> None:
        """Walk by j and k too."""
        steps: dict[str, Callable[[], None]] = {
            "j": self.table.action_cursor_down,
            "k": self.table.action_cursor_up,
        }
        if event.key in steps and self.focused is self.table:
            steps[event.key]()

    def action_filter(self) -> None:
        """Go to the filter."""
        line = self.query_one("#filter", Input)
        line.display = True
        line.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Look for what was typed."""
        self._text, self._after = event.value.strip(), None
        event.input.display = bool(self._text)
        self.table.focus()
        self.tick()

    def action_older(self) -> None:
        """Go to the next page of jobs."""
        if self.seen is not None and self.seen.found is not None and self.seen.found.next:
            self._after = self.seen.found.next
            self.tick()

    def action_newest(self) -> None:
        """Go back to the first page."""
        self._after = None
        self.tick()

    def action_keys(self) -> None:
        """Show all keys."""
        self.push_screen(Story(KEYS))

    def on_data_table_row_selected(self) -> None:
        """Tell all about a job."""
        current = self.table.current
        if current is not None and self.view in ("jobs", "dead"):
            self._line.ask("story", lambda store: looking.details(store, current, time.time()))

    # ---- acting

    def action_mark(self) -> None:
        """Mark the row, for the next action."""
        self.table.toggle()

    def action_pause(self) -> None:
        """Pause the queue, or resume it."""
        name = self.table.current
        found = [one for one in self._status.queues if one.queue == name]
        if found:
            paused = not found[0].paused
            self._line.ask("did", partial(acting.pause, queue=found[0].queue, paused=paused))

    def action_order(self, what: Order) -> None:
        """Give the worker an order."""
        found = [one for one in self._status.workers if one.epoch == self.table.current]
        if found:
            give = partial(acting.order, worker=found[0], what=what)
            self._sure(f"{what.capitalize()} worker {found[0].name}?", give)

    def action_change(self, action: Action) -> None:
        """Change the marked jobs, or the one under the cursor."""
        table = self.table
        ids = table.chosen
        if not ids:
            return
        table.marked.clear()
        change = partial(acting.change, action=action, ids=ids)
        what = f"job {ids[0]}" if len(ids) == 1 else output.plural(len(ids), "marked job")
        if action == "retry":
            self._line.ask("did", change)
        else:
            self._sure(f"{action.capitalize()} {what}?", change)

    @property
    def _status(self) -> status.Status:
        if self.seen is None:
            return status.Status(at=0.0, store="", location="", queues=[], workers=[])
        return self.seen.status

    def _sure(self, question: str, act: Callable[..., str]) -> None:
        def go_on(yes: bool | None) -> None:  # noqa: FBT001 - Textual passes it
            if yes:
                self._line.ask("did", act)

        self.push_screen(Confirm(output.one_line(question)), go_on)
