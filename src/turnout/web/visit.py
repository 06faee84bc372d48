"""One request as a page sees it, and what a page answers with: plain values, no HTTP.

A page is a function of a `Visit` that returns a `Page`, a `Moved` or raises a `Refusal`. The same
page answers a browser with HTML and a program with JSON: both are made of `Page.model`.

The invariant: a value that reaches a page has been capped and, by the methods here, checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from jinja2 import Environment

from turnout.config import check_queue_name
from turnout.errors import ConfigError
from turnout.ids import check_id
from turnout.job import JobFilter, JobId, JobRecord
from turnout.lanes import base_of, check_lane, is_lane, lane_of, lane_queue
from turnout.web.auth import Person
from turnout.web.ledger import Entry, Ledger
from turnout.web.past import Archive
from turnout.web.pulse import Pulse
from turnout.web.redact import Redactor

if TYPE_CHECKING:
    from turnout.app import Turnout

MOST_LIMIT, USUAL_LIMIT = 200, 50
LONGEST_NAME = 500


class Refusal(Exception):
    """A request that is answered with an error page; `text` says what to do instead."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """An answer: a template, and what it shows."""

    template: str
    model: dict[str, Any]
    extra: dict[str, Any] = {}  # for the template alone: charts and the like
    status: int = 200


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to a form: look there; `said` is what was done, for programs."""

    to: str
    said: dict[str, Any] = {}


class Desk(msgspec.Struct, kw_only=True):
    """What all requests of one dashboard share."""

    jobs: Turnout
    title: str
    read_only: bool
    redactor: Redactor
    pulse: Pulse
    archive: Archive
    ledger: Ledger
    templates: Environment


class Visit(msgspec.Struct, kw_only=True):
    """One request of one person."""

    desk: Desk
    person: Person
    root: str  # where the dashboard is mounted
    path: dict[str, str]
    query: dict[str, str]
    form: dict[str, list[str]]
    now: float
    token: str
    address: str
    url: str  # path and query, for links back
    wants_json: bool = False

    @property
    def jobs(self) -> Turnout:
        """The application."""
        return self.desk.jobs

    def given(self, name: str, default: str = "", most: int = LONGEST_NAME) -> str:
        """Return a value of the query string, at most `most` characters of it; else a Refusal."""
        return _capped(name, self.query.get(name, default), most)

    def field(self, name: str, default: str = "", most: int = LONGEST_NAME) -> str:
        """Return a value of the form."""
        return _capped(name, self.form.get(name, [default])[-1], most)

    def fields(self, name: str) -> list[str]:
        """Return every value of a field that may be repeated."""
        return self.form.get(name, [])

    def limit(self) -> int:
        """Return the query's limit: 1 to 200, 50 when not given."""
        text = self.given("limit", str(USUAL_LIMIT), 10)
        if text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_LIMIT:
            return int(text)
        msg = f"limit is a whole number from 1 to {MOST_LIMIT}, got {text!r}"
        raise Refusal(400, msg)

    def after(self) -> JobId | None:
        """Return the id that the page begins below, None for the first page."""
        text = self.given("after") or self.field("after")
        return checked_id(text) if text else None

    def record(self) -> JobRecord:
        """Return the job that the path names; 404 when no trace of it is left."""
        job_id = checked_id(self.path["id"])
        found = self.jobs.store.find(JobFilter(ids=(job_id,)), limit=1)
        if found:
            return found[0]
        msg = (
            f"No trace of job {job_id} is left here: it was never recorded in this store, its "
            "enqueue was rolled back, it was deleted, or its record is past its keeping time."
        )
        raise Refusal(404, msg)

    def write(self, action: str, subject: str, count: int = 1) -> None:
        """Write what this person did into the audit log."""
        entry = Entry(
            at=self.now,
            who=self.person.name,
            role=self.person.role,
            action=action,
            subject=subject,
            count=count,
            address=self.address,
        )
        self.desk.ledger.write(entry)


def checked_id(text: str) -> JobId:
    """Return a job's id, or refuse."""
    try:
        return check_id(text)
    except ConfigError as error:
        raise Refusal(400, f"{error}") from None


def checked_queue(text: str) -> str:
    """Return a queue's name, or refuse."""
    try:
        check_queue_name(base_of(text))
        return lane_queue(base_of(text), check_lane(lane_of(text))) if is_lane(text) else text
    except ConfigError as error:
        raise Refusal(400, f"{error}") from None


def chosen(name: str, value: str, options: tuple[str, ...]) -> str:
    """Return a value that is one of `options`, or refuse."""
    if value in options:
        return value
    msg = f"{name} is one of {', '.join(options)}; got {value[:60]!r}"
    raise Refusal(400, msg)


def _capped(name: str, value: str, most: int) -> str:
    if len(value) > most:
        msg = f"{name} has at most {most} characters; this one has {len(value)}"
        raise Refusal(400, msg)
    if "\0" in value or any("\ud800" <= one <= "\udfff" for one in value):
        msg = f"{name} holds a character that no name has"
        raise Refusal(400, msg)
    return value
