"""Saved views of jobs: a name for a query, kept in the store. All see them, operators change them.

The invariant: what is saved is a query, never an address, so a view leads nowhere but to jobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from turnout import views
from turnout.errors import ConfigError
from turnout.search import LONGEST
from turnout.views import View
from turnout.web.visit import Moved, Refusal

if TYPE_CHECKING:
    from turnout.web.visit import Visit


def save(visit: Visit) -> Moved:
    """Save a query under a name; one of the same name is replaced."""
    query = visit.field("q", most=LONGEST)
    view = View(name=visit.field("name").strip(), query=query, by=visit.person.name[:100])
    try:
        views.save(visit.jobs.store, view)
    except ConfigError as error:
        raise Refusal(400, f"{error}") from None
    visit.write("save view", f"{view.name}: {view.query}")
    to = "/jobs?" + urlencode({"q": query, "said": "saved"})
    return Moved(to=to, said={"name": view.name, "query": query})


def forget(visit: Visit) -> Moved:
    """Forget a saved view."""
    name = visit.field("name")
    if not views.forget(visit.jobs.store, name):
        raise Refusal(404, "There is no such view; nothing was forgotten.")
    visit.write("forget view", name)
    return Moved(to="/jobs?said=forgotten", said={"name": name})
