"""What is read for one refresh: the counters always, jobs only while they are looked at.

The invariant: a look is bounded however many jobs there are; see `finding`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from turnout import finding, search
from turnout.cli.filters import ids_filter
from turnout.cli.show import told
from turnout.cli.status import Status, look

if TYPE_CHECKING:
    from turnout.job import JobId
    from turnout.store.protocol import Store

View = Literal["queues", "workers", "jobs", "dead"]
PAGE = 200  # jobs on one page
MOST_NAMES = 1_000  # task names that are remembered


class Ask(msgspec.Struct, frozen=True):
    """What is on the screen: a view and, for jobs, a query and where the page begins."""

    view: View = "queues"
    text: str = ""
    after: JobId | None = None


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One look."""

    ask: Ask
    status: Status
    found: finding.Found | None = None
    query: search.Query | None = None


class Eye:
    """Looks, and remembers the names of tasks that it met: a prefix may stand for those."""

    def __init__(self) -> None:
        self._tasks: dict[str, None] = {}

    def look(self, store: Store, ask: Ask) -> Seen:
        """Return what there is to see now."""
        status = look(store)
        if ask.view not in ("jobs", "dead"):
            return Seen(ask=ask, status=status)
        text = f"state:dead {ask.text}" if ask.view == "dead" else ask.text
        names = [queue.queue for queue in (*status.queues, *status.lanes)]
        query = search.parse(text, status.at, self._tasks, names)
        if query.faults:
            return Seen(ask=ask, status=status, query=query)
        found = finding.find(store, query, status, limit=PAGE, after=ask.after)
        if len(self._tasks) < MOST_NAMES:
            self._tasks.update(dict.fromkeys(record.task for record in found.jobs))
        return Seen(ask=ask, status=status, found=found, query=query)


def details(store: Store, job_id: str, now: float) -> str:
    """Return all that is known of one job, as text."""
    records = store.find(ids_filter(job_id), limit=1)
    if not records:
        return "No trace of it is left: it was deleted, or its record was pruned."
    return "\n".join(told(store, records[0], now))
