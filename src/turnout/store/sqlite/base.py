"""What the verbs of this adapter share: statements, a transaction's counters, small codecs.

`Turn` is one write transaction's view of the file. It collects counter changes and writes them
once, at its end, so that a batch of a hundred jobs costs one counter update a queue.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import astuple

from turnout.job import AttemptRecord, JobId, State, Trail
from turnout.store.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Q = load_queries("turnout.store.sqlite", "queries.sql")
RATE_SECONDS = 10

encode = msgspec.json.encode
decode_ids = msgspec.json.Decoder(list[JobId]).decode
decode_trail = msgspec.json.Decoder(Trail).decode


def ids_text(ids: Iterable[JobId]) -> str:
    """Return ids as the JSON array that `json_each` reads."""
    return encode(list(ids)).decode()


class Ending(msgspec.Struct, frozen=True):
    """How a job ended; the fields in the order in which `finish_job` binds them."""

    attempt: int
    trail: str | None  # None: unchanged
    state: State
    started_at: float | None
    finished_at: float
    keep_until: float | None = None
    worker: str | None = None
    error: str | None = None
    reason: str | None = None
    result: str | None = None


class Turn:
    """One write transaction: its statements, its clock, its counter changes."""

    __slots__ = ("_rates", "_tallies", "execute", "now")

    def __init__(self, execute: Callable[..., Any], now: float) -> None:
        self.execute = execute
        self.now = now
        self._tallies: dict[tuple[str, str], int] = {}  # a Counter takes 1 us to make
        self._rates: dict[str, int] = {}

    def add(self, queue: str, what: str, n: int = 1) -> None:
        """Count `n` more jobs of a queue in a place."""
        self._tallies[queue, what] = self._tallies.get((queue, what), 0) + n

    def ready_queues(self) -> list[str]:
        """Return the queues with something ready, as far as this transaction has come."""
        ready = Counter(dict(self.execute(Q["ready_queues"]).fetchall()))
        for (queue, what), n in self._tallies.items():
            if what == "ready":
                ready[queue] += n
        return sorted(queue for queue, n in ready.items() if n > 0)

    def finished(self, queue: str, n: int = 1) -> None:
        """Count `n` more jobs of a queue that reached a final state."""
        self._rates[queue] = self._rates.get(queue, 0) + n

    def flush_tallies(self) -> None:
        """Write the counters of places, so that this transaction itself may read them."""
        for (queue, what), n in self._tallies.items():
            if n:
                self.execute(Q["add_tally"], (queue, what, n))
        self._tallies.clear()

    def flush(self) -> None:
        """Write all counters; the last thing before COMMIT."""
        self.flush_tallies()
        bucket = int(self.now // RATE_SECONDS)
        for queue, n in self._rates.items():
            self.execute(Q["add_rate"], (bucket, queue, n))

    def place(self, job_id: JobId, queue: str, rank: int, run_at: float) -> None:
        """Make a job claimable: now, or when its time comes."""
        if run_at <= self.now:
            self.execute(Q["insert_ready"], (queue, rank, run_at, job_id))
            self.add(queue, "ready")
        else:
            self.execute(Q["insert_scheduled"], (run_at, job_id, queue, rank))
            self.add(queue, "scheduled")

    def finish(self, job_id: JobId, queue: str, ending: Ending) -> None:
        """Move a job to its final record and free what it held, but for its unique key."""
        self.execute(Q["finish_job"], (*astuple(ending), job_id, job_id))
        for query in ("drop_job", "drop_progress", "drop_cancel"):
            self.execute(Q[query], (job_id,))
        self.add(queue, ending.state)
        self.finished(queue)


def with_entry(trail: str | None, entry: AttemptRecord) -> str:
    """Return a history with one more attempt at its end."""
    before = decode_trail(trail) if trail else Trail()
    return encode(Trail(attempts=(*before.attempts, entry), counts=before.counts)).decode()
