"""The periodic chores of a worker, as a table: name, interval, function.

The main thread of the process runs them between its ticks. Each interval is jittered, so that
workers started together do not stay together; a chore that fails is logged and tried again at its
next turn. The first row is what cannot wait, the marks that running jobs hold: when it is due again
after a slow chore, it goes before the next one, or they would expire under a living worker.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from turnout.errors import StoreError

log = logging.getLogger("turnout.worker")

_JITTER = 0.2


@dataclass(slots=True)
class Chore:
    """One row of the table. `every` in seconds; `due` is monotonic."""

    name: str
    every: float
    work: Callable[[], None]
    due: float = field(default_factory=time.monotonic)

    def put_off(self) -> None:
        """Set the next turn."""
        self.due = time.monotonic() + self.every * random.uniform(1 - _JITTER, 1)

    def run(self) -> None:
        """Set the next turn, and do it."""
        self.put_off()
        try:
            self.work()
        except StoreError as error:
            log.error("%s failed: %s", self.name, error)  # noqa: TRY400 - the message says it all
        except Exception:
            log.exception("%s failed", self.name)


class Upkeep:
    """The table."""

    def __init__(self, chores: list[Chore]) -> None:
        self._chores = chores

    def run_due(self) -> None:
        """Run what is due, and the first of the table again when it is due after another."""
        now = time.monotonic()
        first = last = self._chores[0]
        for chore in self._chores:
            if chore.due > now:
                continue
            if last is not first and first.due <= time.monotonic():
                first.run()
            chore.run()
            last = chore

    def hasten(self, name: str) -> None:
        """Make a chore due now."""
        for chore in self._chores:
            if chore.name == name:
                chore.due = 0.0

    def until_next(self) -> float:
        """Return the seconds until the next chore is due."""
        return max(min(chore.due for chore in self._chores) - time.monotonic(), 0.0)
