"""Marks of what was deployed: programs and operators make them, all see them on the charts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from turnout.errors import ConfigError
from turnout.web.visit import Moved, Refusal

if TYPE_CHECKING:
    from turnout.web.visit import Visit


def mark(visit: Visit) -> Moved:
    """Mark that something is deployed now."""
    try:
        deploy = visit.jobs.deploys.mark(visit.field("label"), by=visit.person.name)
    except ConfigError as error:
        raise Refusal(400, f"{error}") from None
    visit.write("mark deploy", deploy.label)
    visit.desk.archive.forget()
    return Moved(to="/?said=marked", said=msgspec.to_builtins(deploy))
