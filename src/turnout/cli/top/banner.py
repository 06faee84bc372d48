"""The lines above and below the tables, as text.

The invariant: when what is shown is not of this moment, the first line says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout.cli import output
from turnout.cli.status import worker_lines

if TYPE_CHECKING:
    from turnout.cli.status import Status
    from turnout.cli.top.looking import Seen

SLOW = 3.0  # seconds without an answer that are worth a word


def where(status: Status) -> str:
    """Return which store it is, and of when the numbers are."""
    return output.one_line(f"{status.store}  {status.location}  {output.clock(status.at)[:19]}")


def sums(status: Status) -> str:
    """Return the totals over all queues, and what the workers do."""
    queues = status.queues
    counts = [
        f"{output.number(sum(getattr(queue, name) for queue in queues))} {name}"
        for name in ("ready", "running", "scheduled", "dead")
    ]
    rate = f"{output.number(sum(queue.per_minute for queue in queues))} a minute"
    return "  ".join([*counts, rate, worker_lines(status)[0]])


def fault(error: Exception | None, since: float, last: float | None, now: float) -> str:
    """Return what is wrong with the store, "" when nothing is.

    `since` is when it began, or when an answer was last asked for; `last` is the time of what is
    shown.
    """
    shown = "" if last is None else f" What is shown is from {output.ago(last, now)}."
    if error is not None:
        away = output.duration(max(0.0, now - since))
        said = output.one_line(str(error))
        return f"The store is away for {away}: {said}. Trying again.{shown}"
    waited = now - since
    if waited > SLOW:
        return f"The store has not answered for {output.duration(waited)}.{shown}"
    return ""


def page(seen: Seen) -> str:
    """Return what a query found, or why it did not."""
    if seen.query is None:
        return ""
    if seen.query.faults:
        return "  ".join(seen.query.faults)
    if seen.found is None:
        return ""
    said = [*seen.query.remarks, _found(seen)]
    return "  ".join(filter(None, said))


def _found(seen: Seen) -> str:
    found = seen.found
    if found is None:
        return ""
    count = output.plural(len(found.jobs), "job")
    if found.end == "full":
        return f"{count}, and there are more: n"
    if found.end == "unfinished":
        back = output.ago(found.looked_back_to, seen.status.at)
        return f"{count} so far, looked back to those enqueued {back}: n goes on"
    return count if found.jobs else "No such job."
