"""When a worker process has lived long enough: by its memory, its age, the jobs it has run.

A process that is due is not stopped: a successor is started, and once that is at work the old one
takes nothing more, finishes what runs, and ends. One at a time, so that there is no gap and no
moment at which all go at once. The limits of a process are up to a tenth lower than asked for, by
chance, so that machines that were started together do not stay together.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnout.worker.options import WorkerOptions
    from turnout.worker.places import Child

_SPREAD = 0.1


class Recycling:
    """The limits, and what is past them."""

    def __init__(self, options: WorkerOptions, rng: random.Random | None = None) -> None:
        self._options = options
        self._rng = rng or random.Random()
        self._shares: dict[int, float] = {}  # pid -> how much of each limit is its own

    def reason(self, child: Child, now: float) -> str | None:
        """Say why a process should make room for another; None while it need not."""
        if child.is_old:
            return "it runs the code of before the restart"
        row, options = child.row, self._options
        if not row.is_at_work:
            return None
        share = self._share(child.pid)
        if options.max_jobs is not None and row.done >= options.max_jobs * share:
            return f"it has run {int(row.done):,} jobs (--max-jobs {options.max_jobs:,})"
        if options.max_age is not None and now - child.born >= options.max_age * share:
            return f"it is {now - child.born:,.0f} s old (--max-age {options.max_age:,.0f} s)"
        if options.max_memory is not None and row.rss >= options.max_memory:
            held, most = row.rss / 1e6, options.max_memory / 1e6
            return f"it holds {held:,.0f} MB of memory (--max-memory {most:,.0f} MB)"
        return None

    def _share(self, pid: int) -> float:
        if pid not in self._shares:
            self._shares[pid] = self._rng.uniform(1 - _SPREAD, 1)
        return self._shares[pid]

    def forget(self, pid: int) -> None:
        """Drop what is kept of a process that has ended."""
        self._shares.pop(pid, None)
