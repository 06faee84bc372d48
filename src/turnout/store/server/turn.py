"""One transaction, or one look, on a server: what the shared verbs see of it.

The invariant: a shared verb knows statements by name alone, with the same values and the same rows
on every server. How a list of ids travels is the adapter's business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import msgspec

from turnout.job import JobId, Trail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.job import JobRecord

RATE_SECONDS = 10

encode = msgspec.json.encode
decode_trail = msgspec.json.Decoder(Trail).decode


class Turn(ABC):
    """Statements by their names, and the clock of this transaction."""

    __slots__ = ("now",)

    now: float

    @abstractmethod
    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a named statement and return its rows."""

    @abstractmethod
    def do(self, query: str, *values: object) -> int:
        """Run a named statement and return how many rows it touched."""

    @abstractmethod
    def select(self, sql: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """Run a statement built at run time, over tables called `turnout.NAME`."""

    @abstractmethod
    def drop_queued(self, records: Sequence[JobRecord]) -> list[tuple[str, str, int]]:
        """Delete those still queued and what is kept beside them; queue, place, how many went."""

    def lock_stripes(self, stripes: Sequence[int]) -> None:
        """Lock some of the stripes that keys of marks belong to, in order, until the end."""
        self.rows("mark_lock", stripes)

    @staticmethod
    def ids_read(stored: Any) -> list[JobId]:
        """Return the ids of a lease as they are stored."""
        ids: list[JobId] = stored
        return ids

    @staticmethod
    def ids_stored(ids: Sequence[JobId]) -> Any:
        """Return ids as a lease stores them."""
        return list(ids)

    def add(self, queue: str, what: str, n: int = 1) -> None:
        """Count `n` more jobs of a queue in a place."""
        self.do("add", queue, what, n)

    def unique_free(self, key: str | None, job_id: JobId) -> None:
        """Give up the key that a job held, unless it is held for a time."""
        if key is not None:
            self.do("free_unique", key, job_id)


def side_rows(turn: Turn, ids: list[JobId]) -> dict[JobId, dict[str, Any]]:
    """Return what is kept beside jobs that have not ended, as fields of their records."""
    found: dict[JobId, dict[str, Any]] = {}
    for job_id, progress in turn.rows("side_rows", ids) if ids else ():
        field = ("cancel_requested", True) if progress is None else ("progress", progress)
        found.setdefault(job_id, {}).update([field])
    return found
