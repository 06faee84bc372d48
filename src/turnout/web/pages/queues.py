"""The queues, one row each, and the switch that pauses them.

The invariant: a name that no queue answers to changes nothing, so that a typing error cannot pause
a queue that nobody serves while the one in trouble runs on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from turnout.web.pages.overview import queue_rows, sparks
from turnout.web.visit import Moved, Page, Refusal, checked_queue, chosen

if TYPE_CHECKING:
    from turnout.web.visit import Visit


def show(visit: Visit) -> Page:
    """Show every queue with all its numbers."""
    pulse = visit.desk.pulse
    look, history = pulse.look(fresh="said" in visit.query), pulse.history()
    rows = queue_rows(look, history)
    model: dict[str, Any] = {"at": look.at, "queues": rows}
    return Page(template="queues.html", model=model, extra={"sparks": sparks(rows, history)})


def pause(visit: Visit) -> Moved:
    """Pause or resume a queue."""
    queue = checked_queue(visit.field("queue"))
    paused = chosen("paused", visit.field("paused"), ("yes", "no")) == "yes"
    if visit.desk.pulse.look(fresh=True).queue(queue) is None:
        msg = f"No job has ever been in queue {queue}; nothing was changed."
        raise Refusal(404, msg)
    visit.jobs.store.pause(queue, paused=paused)
    visit.write("pause" if paused else "resume", f"queue {queue}")
    said = "paused" if paused else "resumed"
    return Moved(to=f"/queues?said={said}", said={"queue": queue, "paused": paused})
