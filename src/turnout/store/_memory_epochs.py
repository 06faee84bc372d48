"""Workers' epochs in the memory store, and what each of them holds.

An epoch is open from its first heartbeat until it ends, and an ended one never comes back. What it
held then waits to be surrendered, by one call or by several. The one invariant: a job id stands in
at most one epoch's leases.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from turnout.job import JobId, Order, WorkerInfo

_MAX_ENDED = 10_000  # remembered, so that they never come back


class Epoch:
    """One worker's epoch: who it is, and its leases as job id -> fence."""

    __slots__ = ("leases", "orders", "worker")

    def __init__(self, worker: WorkerInfo) -> None:
        self.worker = worker
        self.leases: dict[JobId, int] = {}
        self.orders: list[Order] = []


class Epochs:
    """All epochs: open, over (ended, with leases left), and the memory of the ended ones."""

    def __init__(self) -> None:
        self._open: dict[str, Epoch] = {}
        self._over: dict[str, Epoch] = {}
        self._ended: dict[str, None] = {}  # in the order of their end

    def current(self, epoch: str) -> Epoch | None:
        """Return an epoch while it is open."""
        return self._open.get(epoch)

    def is_ended(self, epoch: str) -> bool:
        """Tell whether this epoch is over for good."""
        return epoch in self._ended

    def renew(self, worker: WorkerInfo, deadline: float) -> Epoch:
        """Open this worker's epoch, or keep it open until `deadline`."""
        worker = msgspec.structs.replace(worker, deadline=deadline)
        epoch = self._open.setdefault(worker.epoch, Epoch(worker))
        epoch.worker = worker
        return epoch

    def late(self, now: float) -> list[str]:
        """Return the open epochs whose deadline has passed."""
        return [name for name, epoch in self._open.items() if epoch.worker.deadline < now]

    def end(self, name: str) -> None:
        """End an epoch, known or not: from here on nothing that it settles counts."""
        self._ended.setdefault(name)
        if len(self._ended) > _MAX_ENDED:
            del self._ended[next(iter(self._ended))]
        epoch = self._open.pop(name, None)
        if epoch is not None and epoch.leases:
            self._over[name] = epoch

    def surrender(self, name: str | None) -> Iterator[tuple[WorkerInfo, JobId]]:
        """Yield who held what of an ended epoch, or of all; each lease ends as it is yielded."""
        for over in [each for each in self._over if name in {None, each}]:
            worker, leases = self._over[over].worker, self._over[over].leases
            while leases:
                job_id = next(iter(leases))
                del leases[job_id]
                if not leases:
                    del self._over[over]
                yield worker, job_id

    def workers(self) -> list[WorkerInfo]:
        """Return the workers whose epoch is open, by name."""
        return sorted(
            (epoch.worker for epoch in self._open.values()), key=lambda w: (w.name, w.epoch)
        )
