"""What the queues and workers look like now, and how they looked while somebody was watching.

A thread looks every few seconds, as long as a page was asked for within the last hour; between its
looks everybody is shown the same one, so that a hundred viewers cost the store what one does.

    idle --(a page is asked for)--> watching --(an hour without a page)--> idle

The invariant: the history is bounded, lives in this process, and says since when it has been kept:
stores count the present only.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from turnout.errors import TurnoutError
from turnout.job import QueueStats, WorkerInfo
from turnout.lanes import is_lane
from turnout.queues import with_lanes
from turnout.store.patience import held, patient

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from turnout.store.protocol import Store

EVERY = 5.0  # seconds between two samples
KEPT = 720  # samples: an hour
MOST_QUEUES = 100  # of which a history is kept
UNWATCHED = 3_600.0
FRESH = 1.0  # seconds for which one look serves everybody


class Look(msgspec.Struct, frozen=True):
    """The queues, each with its lanes in its numbers, and the workers at one moment."""

    at: float
    queues: tuple[QueueStats, ...]
    workers: tuple[WorkerInfo, ...]
    lanes: tuple[QueueStats, ...] = ()

    def queue(self, name: str) -> QueueStats | None:
        """Return a queue's or a lane's numbers, None for one that the store has never seen."""
        among = self.lanes if is_lane(name) else self.queues
        return next((one for one in among if one.queue == name), None)


class Sample(msgspec.Struct, frozen=True):
    """What is remembered of a look: totals, and by queue (ready, finished per minute)."""

    at: float
    ready: int
    running: int
    dead: int
    per_minute: int
    queues: dict[str, tuple[int, int]]


class Pulse:
    """The present of one store, and its last hour."""

    def __init__(self, store: Callable[[], Store], clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._last: tuple[float, Look] | None = None
        self._samples: deque[Sample] = deque(maxlen=KEPT)
        self._wanted = 0.0
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def look(self, *, fresh: bool = False) -> Look:
        """Return the present, at most a second old; with `fresh`, read now.

        Raises StoreError when the store cannot be read.
        """
        self._watch()
        with held(self._looking):
            last = self._last
            if last is not None and not fresh and time.monotonic() - last[0] < FRESH:
                return last[1]
            store = self._store()
            look = seen(self._clock(), store.count(), store.workers())
            self._last = (time.monotonic(), look)
            self._remember(look)
            return look

    def history(self) -> list[Sample]:
        """Return the samples of the last hour at most, oldest first."""
        with self._lock:
            return list(self._samples)

    def close(self) -> None:
        """End the thread; the next look starts another."""
        self._stop.set()
        thread = self._thread
        if thread is not None:
            thread.join(10)

    def _remember(self, look: Look) -> None:
        with self._lock:
            newest = self._samples[-1] if self._samples else None
            if newest is None or look.at - newest.at >= EVERY * 0.9 or look.at < newest.at:
                self._samples.append(sample(look))

    def _watch(self) -> None:
        self._wanted = time.monotonic()
        with self._lock:
            if self._thread is not None and self._thread.is_alive() and not self._stop.is_set():
                return
            self._stop = stop = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(stop,), name="turnout-pulse", daemon=True
            )
            self._thread.start()

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(EVERY):
            if time.monotonic() - self._wanted > UNWATCHED:
                stop.set()
                return
            self._glance()

    def _glance(self) -> None:
        wanted = self._wanted
        try:
            with patient():
                self.look(fresh=True)
        except TurnoutError:
            return  # the page that asks next says so
        finally:
            self._wanted = wanted  # our own looks keep nobody awake


def seen(at: float, stats: Sequence[QueueStats], workers: Sequence[WorkerInfo]) -> Look:
    """Return a look at what was counted."""
    lanes = tuple(one for one in stats if is_lane(one.queue))
    queues = with_lanes(stats) if lanes else stats
    return Look(at, tuple(queues), tuple(workers), lanes)


def sample(look: Look) -> Sample:
    """Return what is remembered of a look."""
    queues = look.queues
    kept = sorted(queues, key=lambda one: -(one.ready + one.per_minute))[:MOST_QUEUES]
    return Sample(
        at=look.at,
        ready=sum(one.ready for one in queues),
        running=sum(one.running for one in queues),
        dead=sum(one.dead for one in queues),
        per_minute=sum(one.per_minute for one in queues),
        queues={one.queue: (one.ready, one.per_minute) for one in kept},
    )
