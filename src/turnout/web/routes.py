"""Which address shows what, to whom. The one table of the dashboard.

Every GET answers programs too: with `.json` at its end, or `Accept: application/json`. The
invariant: what changes something is a POST, and names the role that it takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from turnout.web.pages import (
    about,
    dead,
    deploys,
    job,
    jobs,
    limits,
    overview,
    queues,
    replays,
    tasks,
    views,
    workers,
)

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
    Spot("/views/save", views.save, "operator", "POST"),
    Spot("/views/forget", views.forget, "operator", "POST"),
    Spot("/jobs/{id}", job.show),
    Spot("/jobs/{id}/edit", job.edit, "operator"),
    Spot("/jobs/{id}/again", job.again, "operator", "POST"),
    Spot("/jobs/{id}/act", job.act, "operator", "POST"),
    Spot("/jobs/{id}/reveal", job.reveal, "admin", "POST"),
    Spot("/dead", dead.show),
    Spot("/dead/group", dead.preview),
    Spot("/dead/act", dead.act, "operator", "POST"),
    Spot("/deploys/mark", deploys.mark, "operator", "POST"),
    Spot("/replays", replays.show),
    Spot("/replays/new", replays.new, "operator"),
    Spot("/replays/start", replays.start, "operator", "POST"),
    Spot("/replays/stop", replays.stop, "operator", "POST"),
    Spot("/tasks", tasks.show),
    Spot("/tasks/one", tasks.one),
    Spot("/limits", limits.show),
    Spot("/limits/act", limits.act, "operator", "POST"),
    Spot("/workers", workers.show),
    Spot("/workers/one", workers.one),
    Spot("/workers/order", workers.order, "operator", "POST"),
    Spot("/store", about.store),
    Spot("/audit", about.audit),
)
