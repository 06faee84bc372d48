"""The thread that asks shards that are away whether they are back, and counts what waits in each.

It runs only while there is something to look at, so that calls of users and workers never pay for a
shard that hangs: whoever meets a failure rouses it, and with nothing left to do it ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from turnout.errors import StoreError
from turnout.store.sharded.shards import Shard

log = logging.getLogger("turnout.store")

COUNT_EVERY = 1.0
_PATIENCE = 10.0  # seconds for one call to a shard that hangs
IDLE = 5.0  # seconds without an enqueue, after which nobody needs the counts


class Watch:
    """One thread at most; `shards` returns those to look at."""

    def __init__(self, shards: Callable[[], Iterable[Shard]]) -> None:
        self._shards = shards
        self._counted_at = float("-inf")
        self._count_until = float("-inf")
        self.renew()

    def renew(self) -> None:
        """Begin anew, as a child does after a fork: the thread stayed with the parent."""
        self._bell = threading.Condition()
        self._thread: threading.Thread | None = None
        self._running = False
        self._closed = False
        self._roused = False

    def rouse(self) -> None:
        """See to it that what is away is asked soon."""
        if threading.current_thread() is self._thread:
            return  # it looks again anyway, unless it has been closed meanwhile
        with self._bell:
            self._roused = True
            self._closed = False
            if not self._running:
                self._running = True
                self._thread = threading.Thread(
                    target=self._run, name="turnout-shards", daemon=True
                )
                self._thread.start()
            self._bell.notify()

    def want_counts(self) -> None:
        """Keep the counts of what waits fresh, for a while."""
        now = time.monotonic()
        self._count_until = now + IDLE
        if not self._running or now - self._counted_at > 2 * COUNT_EVERY:
            self.rouse()

    def close(self) -> None:
        """End the thread, and wait until it has: whoever forks next must leave no lock held."""
        with self._bell:
            self._closed = True
            self._bell.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE)

    def _run(self) -> None:
        while self._goes_on():
            try:
                self._look()
            except Exception:
                log.exception("looking after the shards failed")
                time.sleep(COUNT_EVERY)

    def _goes_on(self) -> bool:
        """Sleep until something is due; False when there is nothing to wait for."""
        with self._bell:
            while not self._closed:
                pause = self._until_due()
                if self._roused or pause <= 0:
                    self._roused = False
                    return True
                if pause == float("inf"):
                    break
                self._bell.wait(pause)
            self._running = False
            return False

    def _until_due(self) -> float:
        now = time.monotonic()
        due = [one.health.ask_at for one in self._shards() if one.health.is_to_ask]
        if self._count_until > now:
            due.append(self._counted_at + COUNT_EVERY)
        return min(due, default=float("inf")) - now

    def _look(self) -> None:
        now = time.monotonic()
        for shard in self._shards():
            if shard.health.is_to_ask and shard.health.ask_at <= now:
                shard.ask()
        if now < self._count_until and now >= self._counted_at + COUNT_EVERY:
            self._counted_at = now
            self._count()

    def _count(self) -> None:
        for shard in self._shards():
            if not shard.health.is_away:
                with suppress(StoreError):
                    shard.count_ready()
