"""Which address shows what, to whom. The one table of the dashboard.

Every GET answers programs too: with `.json` at its end, or `Accept: application/json`. The
invariant: what changes something is a POST, and names the role that it takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from turnout.web.pages import about, dead, job, jobs, overview, queues

if TYPE_CHECKING:
    from turnout.web.auth import Role
    from turnout.web.visit import Moved, Page, Visit

    Show = Callable[[Visit], Page | Moved]


class Spot(msgspec.Struct, frozen=True):
    """An address, its page, and who may see it."""

    path: str
    show: Callable[[Visit], Page | Moved]
    role: Role = "viewer"
    method: str = "GET"


SPOTS = (
    Spot("/", overview.show),
    Spot("/queues", queues.show),
    Spot("/queues/pause", queues.pause, "operator", "POST"),
    Spot("/jobs", jobs.show),
    Spot("/jobs/act", jobs.act, "operator", "POST"),
    Spot("/jobs/{id}", job.show),
    Spot("/jobs/{id}/edit", job.edit, "operator"),
    Spot("/jobs/{id}/again", job.again, "operator", "POST"),
    Spot("/jobs/{id}/act", job.act, "operator", "POST"),
    Spot("/jobs/{id}/reveal", job.reveal, "admin", "POST"),
    Spot("/dead", dead.show),
    Spot("/dead/group", dead.preview),
    Spot("/dead/act", dead.act, "operator", "POST"),
    Spot("/workers", about.workers),
    Spot("/store", about.store),
    Spot("/audit", about.audit),
)
