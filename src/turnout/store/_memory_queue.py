"""One queue of the memory store: its places, its counters and the order its final jobs fade in.

Places are heaps, and nothing is ever taken out of the middle of one: an entry whose job has
moved on is dropped when it comes to the top, or when the heap has doubled. The one invariant: the
counters change exactly when a job moves, so no verb has to count.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

from turnout.job import JobId, QueueStats, State
from turnout.store._memory_job import StoredJob

_WINDOW = 60  # seconds that `per_minute` looks back

K = TypeVar("K", bound=str)
Alive = Callable[[float, JobId], bool]


class LazyHeap(Generic[K]):
    """A heap of (time, key) whose entries may have gone stale, as `alive` tells."""

    __slots__ = ("_alive", "_items", "_limit")

    def __init__(self, alive: Callable[[float, K], bool]) -> None:
        self._alive = alive
        self._items: list[tuple[float, K]] = []
        self._limit = 64

    def push(self, at: float, key: K) -> None:
        """Add an entry, in O(log n)."""
        heappush(self._items, (at, key))
        if len(self._items) > self._limit:
            self._items = [item for item in set(self._items) if self._alive(*item)]
            heapify(self._items)
            self._limit = max(64, 2 * len(self._items))

    def first(self) -> tuple[float, K] | None:
        """Return the earliest entry that is still true, and leave it in place."""
        while self._items and not self._alive(*self._items[0]):
            heappop(self._items)
        return self._items[0] if self._items else None

    def pop(self) -> None:
        """Drop the entry that `first` returned."""
        heappop(self._items)


class MemoryQueue:
    """One queue. `jobs` is the store's own table, which tells stale entries from true ones."""

    def __init__(self, name: str, jobs: Mapping[JobId, StoredJob]) -> None:
        self.name = name
        self.paused = False
        self._jobs = jobs
        self._counts: Counter[str] = Counter()
        # One heap a priority: the head of each is its oldest, so the oldest of all is cheap too.
        self._ready: dict[int, LazyHeap[JobId]] = {}
        self._scheduled = LazyHeap(self._is_scheduled)
        self._finished: deque[list[int]] = deque()  # [second, jobs that finished in it]
        self._fading = LazyHeap(self._is_fading)  # successes by the end of their keep
        self._final = {state: LazyHeap(self._is_final(state)) for state in State if state.is_final}

    def enter(self, job: StoredJob, now: float) -> None:
        """Take in a job whose state is set: give it its place and count it."""
        if job.state is State.QUEUED:
            self._place(job, now)
        elif job.finished_at is not None and job.state.is_final:
            self._final[job.state].push(job.finished_at, job.id)
            if job.keep_until is not None:
                self._fading.push(job.keep_until, job.id)
        self._counts[job.slot] += 1

    def leave(self, job: StoredJob) -> None:
        """Stop counting a job that is about to move on; its entries go stale by themselves."""
        self._counts[job.slot] -= 1

    def promote(self, now: float) -> None:
        """Make every scheduled job that is due by `now` ready."""
        while (head := self._scheduled.first()) is not None and head[0] <= now:
            self._scheduled.pop()
            job = self._jobs[head[1]]
            self.leave(job)
            self.enter(job, now)

    def head(self) -> StoredJob | None:
        """Return the ready job whose turn is next."""
        for priority in sorted(self._ready, reverse=True):
            if (entry := self._ready[priority].first()) is not None:
                return self._jobs[entry[1]]
            del self._ready[priority]
        return None

    def next_due(self) -> float:
        """Return when this queue has something to lease: a past time, a future one, or never."""
        heads = (heap.first() for heap in (*self._ready.values(), self._scheduled))
        times = [entry[0] for entry in heads if entry is not None]
        return float("inf") if self.paused or not times else min(times)

    def note_finished(self, now: float) -> None:
        """Count a job that reached a final state at `now` towards `per_minute`."""
        self._forget_finished(now)
        if self._finished and self._finished[-1][0] >= int(now):
            self._finished[-1][1] += 1
        else:
            self._finished.append([int(now), 1])

    def stats(self, now: float) -> QueueStats:
        """Return this queue's numbers as of `now`."""
        self.promote(now)
        self._forget_finished(now)
        oldest = (entry for heap in self._ready.values() if (entry := heap.first()) is not None)
        counts = self._counts
        return QueueStats(
            queue=self.name,
            paused=self.paused,
            ready=counts["ready"],
            scheduled=counts["scheduled"],
            running=counts["running"],
            succeeded=counts["succeeded"],
            dead=counts["dead"],
            discarded=counts["discarded"],
            cancelled=counts["cancelled"],
            oldest_at=min((at for at, _ in oldest), default=None),
            per_minute=sum(jobs for _, jobs in self._finished),
        )

    def overdue(self, state: State, before: float, most: int) -> Iterator[StoredJob]:
        """Yield the oldest in a final state while they ended before `before` or exceed `most`.

        The caller deletes each before it asks for the next one.
        """
        heap = self._final[state]
        while (head := heap.first()) is not None:
            if head[0] >= before and self._counts[state.value] <= most:
                return
            yield self._jobs[head[1]]

    def faded(self, now: float) -> Iterator[StoredJob]:
        """Yield the successes that were kept long enough; the caller deletes each."""
        while (head := self._fading.first()) is not None and head[0] < now:
            yield self._jobs[head[1]]

    def _place(self, job: StoredJob, now: float) -> None:
        job.ahead = job.run_at > now
        if job.ahead:
            self._scheduled.push(job.run_at, job.id)
            return
        if job.priority not in self._ready:
            self._ready[job.priority] = LazyHeap(self._is_ready(job.priority))
        self._ready[job.priority].push(job.run_at, job.id)

    def _forget_finished(self, now: float) -> None:
        while self._finished and self._finished[0][0] <= int(now) - _WINDOW:
            self._finished.popleft()

    def _is_ready(self, priority: int) -> Alive:
        def alive(at: float, job_id: JobId) -> bool:
            job = self._jobs.get(job_id)
            return (
                job is not None
                and job.state is State.QUEUED
                and not job.ahead
                and job.run_at == at
                and job.queue == self.name
                and job.priority == priority
            )

        return alive

    def _is_scheduled(self, at: float, job_id: JobId) -> bool:
        job = self._jobs.get(job_id)
        return (
            job is not None
            and job.state is State.QUEUED
            and job.ahead
            and job.run_at == at
            and job.queue == self.name
        )

    def _is_fading(self, at: float, job_id: JobId) -> bool:
        job = self._jobs.get(job_id)
        return job is not None and job.keep_until == at and job.queue == self.name

    def _is_final(self, state: State) -> Alive:
        def alive(at: float, job_id: JobId) -> bool:
            job = self._jobs.get(job_id)
            return (
                job is not None
                and job.state is state
                and job.finished_at == at
                and job.queue == self.name
            )

        return alive
