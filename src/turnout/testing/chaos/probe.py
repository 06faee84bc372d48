"""The job by which `turnout chaos` looks: it notes nothing itself, the ledger's layer does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnout.app import Turnout
    from turnout.task import Task

NAME = QUEUE = "turnout.chaos"
KEEP = 24 * 3600.0  # seconds: a probe's end must be there to be read


def add_probe(app: Turnout) -> Task[[float], None, None]:
    """Register the probe in an application; return its task."""

    @app.task(name=NAME, queue=QUEUE, keep=KEEP)
    def probe(seconds: float) -> None:
        time.sleep(seconds)

    return probe
