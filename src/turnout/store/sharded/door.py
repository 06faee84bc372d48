"""Waiting for several shards at once: a thread for each, which waits there as a worker would.

    idle -- somebody waits --> listening at the shard -- it may have a job --> rung --> idle

The threads outlive single waits, since a worker waits again and again, and end when nobody has
waited for a while. One that still listens when another shard has rung goes on: what it hears counts
for the next wait, which may therefore end for nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress

from turnout.job import WorkerInfo
from turnout.store.sharded.shards import FAILURES, Shard

_IDLE = 5.0  # seconds without a wait, after which the threads end


class Door:
    """Where one worker waits."""

    def __init__(self) -> None:
        self._bell = threading.Condition()
        self._workers: dict[Shard, WorkerInfo] = {}  # as each shard knows the worker
        self._listening: set[Shard] = set()
        self._until = 0.0  # monotonic: somebody waits until then
        self._rung = False
        self._woken = False
        self._closed = False

    def wait(self, workers: Mapping[Shard, WorkerInfo], timeout: float) -> bool:
        """Block until one of these shards may have a job, `wake`, or the time is up."""
        end = time.monotonic() + timeout
        with self._bell:
            self._workers = dict(workers)
            self._until = end
            for shard in self._workers.keys() - self._listening:
                self._listening.add(shard)
                name = f"turnout-door-{shard.name}"
                threading.Thread(target=self._listen, args=(shard,), name=name, daemon=True).start()
            self._bell.notify_all()
            while not (self._rung or self._woken or self._closed):
                left = end - time.monotonic()
                if left <= 0:
                    break
                self._bell.wait(left)
            rung = self._rung
            self._rung = self._woken = False
            self._until = 0.0
        return rung

    def wake(self) -> None:
        """End the wait, or the next one."""
        with self._bell:
            self._woken = True
            self._bell.notify_all()

    def close(self) -> None:
        """Let the threads end, each when its shard lets go of it."""
        with self._bell:
            self._closed = True
            self._bell.notify_all()
        for shard, worker in self._workers.items():
            if shard in self._listening:
                with suppress(*FAILURES):
                    shard.store.wake(worker)

    def _listen(self, shard: Shard) -> None:
        try:
            while (seconds := self._wanted()) > 0 and self._is_served(shard):
                if self._waits_at(shard, seconds):
                    self._ring()
        finally:
            with self._bell:
                self._listening.discard(shard)

    def _waits_at(self, shard: Shard, seconds: float) -> bool:
        worker = self._workers.get(shard)
        if worker is None:
            return False
        try:
            return shard.store.wait(worker, seconds)
        except FAILURES as error:
            shard.failed(error)
            return False

    def _wanted(self) -> float:
        """Return for how long somebody waits; 0 when nobody has for a while."""
        end = time.monotonic() + _IDLE
        with self._bell:
            while not self._closed:
                now = time.monotonic()
                if now < self._until and not self._rung:
                    return self._until - now
                if now >= end:
                    return 0.0
                self._bell.wait(end - now)
        return 0.0

    def _ring(self) -> None:
        with self._bell:
            self._rung = True
            self._bell.notify_all()

    def _is_served(self, shard: Shard) -> bool:
        """Tell whether an exchange goes there: a job that nobody fetches would ring on and on."""
        return shard in self._workers and not (shard.health.is_away or shard.health.is_resting)
