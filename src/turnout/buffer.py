"""`on_unavailable="buffer"`: jobs wait in this process, and on disk, while the store is away.

    direct --an enqueue finds the store away--> waiting --the last one is recorded--> direct

While any wait, all that follow wait behind them: nobody overtakes, and nobody but the thread that
empties the buffer spends a timeout on a store that is away. Jobs keep the ids they were given, so
what is sent twice (a reply was lost, a process was killed) is recorded once.

With a folder, each process appends what it accepts to a file of its own there, a job a line, and
has it on the disk before the enqueue returns. The file is locked while its process lives and goes
when the buffer is empty; whoever comes next takes over the files that nobody locks.
"""

from __future__ import annotations

import atexit
import logging
import os
import random
import threading
import time
from collections import deque
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

from turnout.errors import EnqueueError, StoreBusy, StoreError, StoreUnavailable
from turnout.events import JobRefused
from turnout.spill import Spill
from turnout.store.protocol import MAX_BATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from turnout.app import Turnout
    from turnout.job import JobId, NewJob

    Record = Callable[[list[NewJob]], Sequence[JobId | None]]
    Refused = Callable[[NewJob, str], None]

log = logging.getLogger("turnout.buffer")

CLOSING = 2.0  # seconds that the end of a process waits for the store
_FIRST, _MOST = 0.05, 2.0  # seconds between two tries
_REMIND = 60.0
_TAKEN = "its unique key is held by another job"


class Buffer:
    """The jobs of one process that wait for the store.

    `record` is the store's `enqueue`; `refused` is told of a job that the store would not take when
    it came back. At most `size` jobs wait. `folder` is where they outlive the process. They are
    recorded `batch` at a time; `trouble` is what they wait for, in words.
    """

    def __init__(
        self,
        record: Record,
        refused: Refused,
        size: int,
        folder: str | os.PathLike[str] | None,
        *,
        batch: int = MAX_BATCH,
        trouble: str = "the store is away",
    ) -> None:
        self._record = record
        self._refused = refused
        self._size = size
        self._batch = batch
        self._trouble = trouble
        self._folder = None if folder is None else Path(folder)
        self._reset()
        _all.add(self)

    def _reset(self) -> None:
        self._lock = threading.Condition()
        self._waiting: deque[NewJob] = deque()
        self._ids: set[JobId] = set()
        self._file: Spill | None = None
        self._taken_over: list[Spill] = []
        self._thread: threading.Thread | None = None
        self._looked = False
        self._closing = False

    def __len__(self) -> int:
        return len(self._ids)

    def holds(self, job_id: JobId) -> bool:
        """Tell whether a job waits here still."""
        return job_id in self._ids

    def enqueue(self, jobs: list[NewJob], record: Record | None = None) -> Sequence[JobId | None]:
        """Record jobs, or keep all of them when the store is away; return their ids.

        Raises StoreUnavailable when there is no room for all of them, and nothing is kept then.
        """
        if not self._looked:
            self._take_over()
        away: StoreUnavailable | None = None
        if not self._ids:
            try:
                return (record or self._record)(jobs)
            except StoreUnavailable as error:
                away = error
        self._keep(jobs, away)
        return [job.id for job in jobs]

    def has_any(self) -> bool:
        """Tell whether jobs wait here, those included that processes which are gone left behind."""
        if not self._looked:
            self._take_over()
        return bool(self._ids)

    def keep(self, jobs: list[NewJob]) -> None:
        """Keep jobs without trying; raises StoreUnavailable when there is no room for all."""
        self.has_any()
        self._keep(jobs, None)

    def _keep(self, jobs: list[NewJob], away: StoreUnavailable | None) -> None:
        with self._lock:
            if len(self._ids) + len(jobs) > self._size:
                msg = (
                    f"{self._trouble} and the buffer has no room for {len(jobs):,} more: "
                    f"{len(self._ids):,} of {self._size:,} jobs wait (buffer_size=)"
                )
                raise StoreUnavailable(msg) from away
            if self._folder is not None:
                if self._file is None:
                    self._file = Spill.new(self._folder)
                self._file.append(jobs)
            if not self._ids:
                why = "" if away is None else f": {away}"
                log.warning("%s, jobs wait in the buffer%s", self._trouble, why)
            self._waiting += jobs
            self._ids.update(job.id for job in jobs)
            self._start()

    def _start(self) -> None:
        """Have a thread that empties the buffer; called under the lock."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._drain, name="turnout-buffer", daemon=True)
            self._thread.start()
        self._lock.notify_all()

    def _take_over(self) -> None:
        """Read what processes that are gone left in the folder."""
        with self._lock:
            if self._looked:
                return
            self._looked = True
            if self._folder is None:
                return
            for spill in Spill.left_behind(self._folder):
                jobs = [job for job in spill.read() if job.id not in self._ids]
                self._taken_over.append(spill)
                self._waiting += jobs
                self._ids.update(job.id for job in jobs)
            if self._taken_over:
                log.warning("%d jobs of processes that are gone wait in the buffer", len(self))
                self._start()

    # ---- the thread

    def _drain(self) -> None:
        pause, told = _FIRST, time.monotonic()
        while batch := self._next_batch():
            try:
                self._send(batch)
                pause = _FIRST
            except (StoreUnavailable, StoreBusy) as error:
                if time.monotonic() - told > _REMIND:
                    told = time.monotonic()
                    log.warning("still: %s, %d jobs wait: %s", self._trouble, len(self), error)
                if self._rest(pause):
                    return
                pause = min(pause * 2, _MOST)

    def _next_batch(self) -> list[NewJob]:
        with self._lock:
            batch = list(islice(self._waiting, self._batch))
            if not batch:  # in one step with the files' end: what comes next starts anew
                self._discard_files()
                self._thread = None
                self._lock.notify_all()
            return batch

    def _rest(self, pause: float) -> bool:
        """Wait before the next try; True when this was the last one."""
        with self._lock:
            if not self._closing:
                self._lock.wait(pause * random.uniform(0.75, 1.25))
                return False
            self._thread = None
            self._lock.notify_all()
            return True

    def _send(self, batch: list[NewJob]) -> None:
        try:
            answers = self._record(batch)
        except (StoreUnavailable, StoreBusy):
            raise
        except (StoreError, EnqueueError) as error:
            if len(batch) == 1:
                self._refuse(batch[0], str(error))
                self._forget(batch)
                return
            for job in batch:  # one of them is at fault: the others must not wait behind it
                self._send([job])
            return
        for job, answer in zip(batch, answers, strict=True):
            if answer is None:
                self._refuse(job, _TAKEN)
        self._forget(batch)

    def _refuse(self, job: NewJob, why: str) -> None:
        log.error("buffered job %s (%s) was refused: %s", job.id, job.task, why)
        self._refused(job, why)

    def _forget(self, batch: list[NewJob]) -> None:
        with self._lock:
            for job in batch:
                self._waiting.popleft()
                self._ids.discard(job.id)
            if not self._ids:
                log.warning("all were recorded, no job waits in the buffer (%s)", self._trouble)

    def _discard_files(self) -> None:
        for spill in (self._file, *self._taken_over):
            if spill is not None:
                spill.discard()
        self._file, self._taken_over = None, []

    # ---- the end

    def close(self, timeout: float = CLOSING) -> None:
        """Try once more, for `timeout` seconds at most, and say what is left where."""
        with self._lock:
            if self._thread is None:
                return
            self._closing = True
            self._lock.notify_all()
            self._lock.wait_for(lambda: self._thread is None, timeout)
            self._closing = False
            left = len(self._ids)
        if left and self._folder is None:
            log.error("%d buffered jobs are lost with this process: %s", left, self._trouble)
        elif left:
            log.warning("%d buffered jobs wait in %s for the next process", left, self._folder)

    def after_fork(self) -> None:
        """Forget everything, in a child: it is its parent's, who keeps it."""
        inherited = (self._file, *self._taken_over)
        self._reset()
        for spill in inherited:
            if spill is not None:
                spill.let_go()


def buffer_of(app: Turnout) -> Buffer:
    """Return the buffer of an application, as its settings say."""

    def record(jobs: list[NewJob]) -> Sequence[JobId | None]:
        return app.store.enqueue(jobs)

    def refused(job: NewJob, why: str) -> None:
        app.events.emit(JobRefused(job.id, job.task, job.queue, why))

    return Buffer(record, refused, app.config.buffer_size, app.config.buffer_path)


_all: WeakSet[Buffer] = WeakSet()


def _close_all() -> None:
    for buffer in list(_all):
        buffer.close()


def _forked() -> None:
    for buffer in list(_all):
        buffer.after_fork()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forked)
