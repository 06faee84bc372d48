"""The store that stands in for the real one during a test: in memory, and gone after it.

The invariant: while it stands in, no verb reaches the application's own store.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from turnout.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from turnout.app import Turnout
    from turnout.job import JobId, NewJob


class StandIn(MemoryStore):
    """A memory store that goes by its application's clock and takes enqueues `within` anything.

    A job enqueued in the caller's transaction is recorded at once: a rollback does not take it
    back.
    """

    def __init__(self, jobs: Turnout) -> None:
        super().__init__("stand-in")
        self._jobs = jobs
        self.clock = self._application_clock

    def _application_clock(self) -> float:
        return self._jobs.clock()  # which a FakeClock may replace later

    def enqueue(
        self, jobs: Sequence[NewJob], *, within: object = None, now: float | None = None
    ) -> list[JobId | None]:
        """Record jobs; see the protocol."""
        del within
        return super().enqueue(jobs, now=now)


S = TypeVar("S", bound=StandIn)


@contextmanager
def swapped(jobs: Turnout, store: S) -> Iterator[S]:
    """Put `store` in place of the application's while the block lasts."""
    before, jobs._store = jobs._store, store  # noqa: SLF001 - the one place that swaps it
    try:
        yield store
    finally:
        jobs._store = before  # noqa: SLF001


@contextmanager
def memory(jobs: Turnout) -> Iterator[StandIn]:
    """Give an application an empty store in memory while the block lasts.

    Enqueues wait there for `drain`, `assert_enqueued` or a worker. Enqueues within a connection or
    session are accepted, and recorded at once: a rollback does not take them back.
    """
    with swapped(jobs, StandIn(jobs)) as store:
        yield store
