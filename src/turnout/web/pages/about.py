"""The store and the audit log: where the jobs lie, and who did what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from turnout.web.ledger import MOST
from turnout.web.visit import Page

if TYPE_CHECKING:
    from turnout.web.visit import Visit


def store(visit: Visit) -> Page:
    """Show what the store says of itself, and what is wrong with its set-up."""
    look = visit.desk.pulse.look()
    names = ("ready", "scheduled", "running", "succeeded", "dead", "discarded", "cancelled")
    model: dict[str, Any] = {
        "store": visit.jobs.store.describe(),
        "kept": {name: sum(getattr(one, name) for one in look.queues) for name in names},
        "retention": visit.jobs.config.retention(),
        "tasks": sorted(visit.jobs.tasks),
    }
    return Page(template="store.html", model=model)


def audit(visit: Visit) -> Page:
    """Show the last actions, of whom and wherever they were done."""
    entries = visit.desk.ledger.entries(visit.now)
    return Page(template="audit.html", model={"entries": entries}, extra={"kept": MOST})
