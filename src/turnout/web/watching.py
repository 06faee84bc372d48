"""One look at the store for all who follow a job, however many they are.

A thread asks for all jobs that are watched at once and hands each watcher what is new for it, on
the watcher's own event loop.

    ended --(somebody watches)--> looking, every so often, and at once for a newcomer
      ^                              | nobody watches any more
      +------- IDLE seconds ------ idle

The invariant: the store is asked at most once within `GAP` seconds, and a watcher hears of its own
job only. A store that does not answer leaves everybody with what they heard last.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from turnout.errors import TurnoutError
from turnout.job import JobFilter, JobRecord, State
from turnout.store.patience import patient

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from turnout.app import Turnout
    from turnout.job import JobId
    from turnout.store.protocol import Store
    from turnout.tokens import Grant

GAP, IDLE = 0.02, 30.0
PATIENT = (
    30.0  # seconds for which a job may be unknown yet: its transaction is open, it is buffered
)
AT_ONCE = 500  # ids that one question names

_log = logging.getLogger("turnout.web")


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What an end user is told of a job: no arguments, no errors, nothing of other jobs."""

    state: str  # a State, or "unknown"
    ended: bool
    progress: msgspec.Raw | None = None
    position: int | None = None  # of a due job: its place in the queue, or better
    result: msgspec.Raw | msgspec.UnsetType | None = msgspec.UNSET


class Watcher:
    """One stream or request; made on the event loop that hears of it."""

    def __init__(self, grant: Grant) -> None:
        self.job_id: JobId = grant.job_id
        self.sees_result = grant.result
        self.since = time.monotonic()
        self.told: Status | None = None
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    async def next(self, timeout: float) -> Status | None:  # noqa: ASYNC109 - None is an answer
        """Return what is new, or None after `timeout` seconds without news."""
        try:
            async with asyncio.timeout(timeout):
                await self._news.wait()
        except TimeoutError:
            return None
        self._news.clear()
        return self.told

    def hear(self, record: JobRecord | None, ready: int | None) -> None:
        """Take in what the store says; from the thread that looks."""
        status = self._status(record, ready)
        if status != self.told:
            self.told = status
            try:
                self._loop.call_soon_threadsafe(self._news.set)
            except RuntimeError:
                return  # its loop was closed under it: nobody listens

    def _status(self, record: JobRecord | None, ready: int | None) -> Status:
        if record is None:
            known = self.told is not None and self.told.state != "unknown"
            over = known or time.monotonic() - self.since > PATIENT
            return Status(state="unknown", ended=over)
        has_result = self.sees_result and record.state is State.SUCCEEDED
        return Status(
            state=record.state.value,
            ended=record.state.is_final,
            progress=_raw(record.progress) if not record.state.is_final else None,
            position=self._position(record, ready),
            result=_raw(record.result) if has_result else msgspec.UNSET,
        )

    def _position(self, record: JobRecord, ready: int | None) -> int | None:
        """Return the best bound heard so far: later jobs lengthen the queue, and stand behind."""
        if record.state is not State.QUEUED or ready is None:
            return None
        before = self.told.position if self.told else None
        return max(1, ready if before is None else min(before, ready))


def _raw(text: str | None) -> msgspec.Raw | None:
    return None if text is None else msgspec.Raw(text.encode("utf-8", "backslashreplace"))


class Hub:
    """All watchers of one application in this process."""

    def __init__(self, jobs: Turnout, every: float, *, positions: bool) -> None:
        self._jobs = jobs
        self._every = every
        self._positions = positions
        self._lock = threading.Lock()
        self._watchers: set[Watcher] = set()
        self._nudge = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, grant: Grant) -> Watcher:
        """Begin to watch; the first news is what the job is now."""
        watcher = Watcher(grant)
        with self._lock:
            self._watchers.add(watcher)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="turnout-status", daemon=True
                )
                self._thread.start()
        self._nudge.set()
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Watch no more."""
        with self._lock:
            self._watchers.discard(watcher)

    def _run(self) -> None:
        while True:
            self._nudge.clear()
            with self._lock:
                watchers = list(self._watchers)
            if watchers:
                self._look(watchers)
            if self._nudge.wait(self._every if watchers else IDLE):
                time.sleep(GAP)  # those who come together are answered together
            elif not watchers and self._is_over():
                return

    def _is_over(self) -> bool:
        with self._lock:
            if not self._watchers:
                self._thread = None
            return not self._watchers

    def _look(self, watchers: Sequence[Watcher]) -> None:
        try:
            with patient():
                found, ready = self._ask({watcher.job_id for watcher in watchers})
        except TurnoutError:
            return  # away: requests run out of time and say so, streams stay open
        except Exception:  # noqa: BLE001 - logged; the thread serves everybody else too
            _log.exception("the status of jobs cannot be read")
            return
        now = self._jobs.clock()
        for watcher in watchers:
            record = found.get(watcher.job_id)
            is_due = record is not None and (record.run_at or 0.0) <= now
            watcher.hear(record, ready.get(record.queue) if record and is_due else None)

    def _ask(self, ids: set[JobId]) -> tuple[dict[JobId, JobRecord], dict[str, int]]:
        store = self._jobs.store
        found = {one.id: one for some in _parts(sorted(ids)) for one in _find(store, some)}
        due = any(one.state is State.QUEUED for one in found.values())
        counted = store.count() if due and self._positions else ()
        return found, {one.queue: one.ready for one in counted}


def _parts(ids: list[JobId]) -> Iterator[tuple[JobId, ...]]:
    for start in range(0, len(ids), AT_ONCE):
        yield tuple(ids[start : start + AT_ONCE])


def _find(store: Store, ids: tuple[JobId, ...]) -> list[JobRecord]:
    return store.find(JobFilter(ids=ids), limit=len(ids))
