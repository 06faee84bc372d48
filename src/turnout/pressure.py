"""How full the queues are, and what an enqueue does at a queue's ceiling.

    room      recorded
    no room   "raise": QueueFull, nothing recorded; "wait": looked at again until `wait` is over,
              then as "raise"; "spill": kept in a file here, recorded when there is room;
              "shed": dropped when its priority is below `shed_below`, else recorded

The numbers are the store's counters, read at most every `EVERY` seconds by each process, plus what
this process has enqueued since: n processes may overshoot by what the others enqueue in that time.
While the counters cannot be read, there is room.

Invariant: of jobs that are enqueued together, all are refused or none; only sheds are one by one.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from turnout.buffer import Buffer
from turnout.ceiling import Queue, declared
from turnout.errors import ConfigError, QueueFull, StoreError, StoreUnavailable
from turnout.events import JobRefused, JobShed
from turnout.job import JobId
from turnout.lanes import base_of
from turnout.queues import with_lanes
from turnout.store.protocol import MAX_BATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from turnout.app import Turnout
    from turnout.job import NewJob, QueueStats

    Record = Callable[[list[NewJob]], Sequence[JobId | None]]

log = logging.getLogger("turnout.pressure")

EVERY = 0.25  # seconds for which a process goes by what it read
SHED = JobId("")  # stands for the id of a job that was dropped on purpose
_PAUSE = 0.1  # seconds between two looks while waiting
_HISTORY = 60.0  # seconds of depths, for queues whose workers count nothing
_REMIND = 60.0


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What waits in a queue: `depth` jobs, the oldest for `age` seconds; done `per_second` lately.

    `drain_seconds` is how long that takes at this rate; None where nothing has moved lately.
    """

    queue: str
    depth: int = 0
    age: float = 0.0
    per_second: float = 0.0
    paused: bool = False

    @property
    def drain_seconds(self) -> float | None:
        """Seconds until what waits now is done, at the rate seen lately."""
        if not self.depth:
            return 0.0
        return self.depth / self.per_second if self.per_second else None


class Sifted(NamedTuple):
    """What becomes of jobs at their ceilings."""

    left: list[NewJob]  # to be recorded
    shed: set[JobId]
    spilled: set[JobId]


class Pressure:
    """The queues' rules and numbers, as one process sees them. Any thread may call."""

    def __init__(self, app: Turnout) -> None:
        self._app = app
        self.queues: dict[str, Queue] = {}
        self.ceilings: dict[str, Queue] = {}
        self.targets: list[Queue] = []  # those of the shortest first
        self.stress: Callable[[], object] | None = None
        self._spills: dict[str, Buffer] = {}
        self._stats: dict[str, QueueStats] = {}
        self._own: Counter[str] = Counter()
        self._depths: defaultdict[str, deque[tuple[float, int]]] = defaultdict(deque)
        self._next_look = float("-inf")
        self._shed: Counter[str] = Counter()
        self._told_at = float("-inf")

    def declare(self, name: str, options: dict[str, Any]) -> Queue:
        """Keep a queue's rule; raises ConfigError for faults and for a second declaration."""
        queue = declared(name, **options)
        if name in self.queues:
            msg = f"queue {name!r} is declared twice: say all of it at once"
            raise ConfigError(msg)
        self.queues[name] = queue
        if queue.has_ceiling:
            self.ceilings[name] = queue
        if queue.target is not None:
            self.targets = sorted([*self.targets, queue], key=lambda one: one.target or 0.0)
        if queue.spill is not None:
            self._spills[name] = self._spill_of(queue, queue.spill)
        return queue

    # ---- how full

    def look(self, queue: str) -> Backlog:
        """Return what waits in a queue; up to `EVERY` seconds old. StoreError passes."""
        self._refresh()
        found, now = self._stats.get(queue), self._app.clock()
        if found is None:
            return Backlog(queue=queue, depth=self._own[queue])
        since = found.oldest_at
        return Backlog(
            queue=queue,
            depth=found.ready + self._own[queue],
            age=0.0 if since is None else max(0.0, now - since),
            per_second=found.per_minute / 60 or self._falling(queue),
            paused=found.paused,
        )

    def _refresh(self) -> None:
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + EVERY  # first: other threads go by what was known meanwhile
        try:
            found = self._app.store.count()
        except StoreError:
            self._stats, self._own = {}, Counter()  # numbers of long ago must not close a queue
            raise
        # Thousands of lanes take longer to count; it may take a tenth of the time.
        self._next_look = max(self._next_look, now + 10 * (time.monotonic() - now))
        self._stats, self._own = {one.queue: one for one in with_lanes(found)}, Counter()
        for name, each in self._stats.items():
            depths = self._depths[name]
            depths.append((now, each.ready))
            while depths[0][0] < now - _HISTORY:
                depths.popleft()

    def _falling(self, queue: str) -> float:
        """Return by how many jobs a second the depth falls, as far as seen here."""
        depths = self._depths[queue]
        if len(depths) < 2:  # noqa: PLR2004 - a difference needs two
            return 0.0
        (began, first), (ended, last) = depths[0], depths[-1]
        return max(0.0, (first - last) / (ended - began))

    def refusal(self, rule: Queue, more: int) -> QueueFull | None:
        """Return why so many more jobs find no room in a queue; None when there is room."""
        try:
            seen = self.look(rule.name)
        except StoreError:
            return None  # the enqueue itself will say so
        if rule.max_depth is not None and seen.depth + more > rule.max_depth:
            over, limit = f"{seen.depth:,} jobs wait, the limit is", rule.max_depth
            said = f"{over} {limit:,}" + (f" and {more:,} more came at once" if more > 1 else "")
            return QueueFull(rule.name, said, seen.depth, limit, seen.drain_seconds)
        if rule.max_age is not None and seen.age > rule.max_age:
            said = (
                f"its oldest job has waited {seen.age:.1f} s, the limit is {rule.max_age:g} s "
                f"({seen.depth:,} wait)"
            )
            return QueueFull(rule.name, said, seen.depth, rule.max_age, seen.drain_seconds)
        return None

    # ---- enqueue

    def holds(self, job_id: JobId) -> bool:
        """Tell whether a job waits in a file of this process for room in its queue."""
        return any(spill.holds(job_id) for spill in self._spills.values())

    def pause(self, jobs: list[NewJob], until: float) -> float | None:
        """Return how long to sleep before asking again, where the rule is to wait; else None.

        Raises QueueFull when the time, of the monotonic clock, is over.
        """
        pause = None
        for rule, more in self._concerned(jobs):
            refusal = self.refusal(rule, more) if rule.when_full == "wait" else None
            if refusal is not None:
                left = until - time.monotonic()
                if left <= 0:
                    raise refusal
                pause = min(left, _PAUSE)
        return pause

    def deadline(self, jobs: list[NewJob], *, within: bool) -> float:
        """Return until when these jobs may wait for room; in a transaction, they may not."""
        waits = [rule.wait for rule, _ in self._concerned(jobs) if rule.when_full == "wait"]
        return time.monotonic() + (0.0 if within else max(waits, default=0.0))

    def enqueue(
        self, record: Record, jobs: list[NewJob], *, within: bool = False
    ) -> list[JobId | None]:
        """Record jobs as far as there is room; SHED stands for the id of those dropped.

        Raises QueueFull before anything is recorded.
        """
        sifted = self.sift(jobs, within=within)
        return self.answers(jobs, sifted, record(sifted.left) if sifted.left else ())

    def sift(self, jobs: list[NewJob], *, within: bool) -> Sifted:
        """Say of jobs which are recorded and which dropped; keep those that are spilled.

        In a transaction nothing is spilled, as only what is written there comes and goes with it.
        Raises QueueFull.
        """
        shed: set[JobId] = set()
        spilled: dict[str, list[NewJob]] = {}
        for rule, more in self._concerned(jobs):
            spill = None if within else self._spills.get(rule.name)
            refusal = self.refusal(rule, more)
            if spill is not None and (refusal is not None or spill.has_any()):
                spilled[rule.name] = [job for job in jobs if _counts(job, rule.name)]
            elif refusal is not None and rule.when_full == "shed":
                shed |= self._drop(rule, jobs, refusal)
            elif refusal is not None:
                raise refusal
        for name, each in spilled.items():
            self._spills[name].keep(each)
        kept = {job.id for each in spilled.values() for job in each}
        gone = shed | kept
        left = [job for job in jobs if job.id not in gone] if gone else jobs
        return Sifted(left, shed, kept)

    def answers(
        self, jobs: list[NewJob], sifted: Sifted, ids: Sequence[JobId | None]
    ) -> list[JobId | None]:
        """Return what an enqueue returns, from what the store said of the jobs left to it."""
        self._own.update(base_of(job.queue) for job in sifted.left if job.run_at is None)
        said = iter(ids)
        found: list[JobId | None] = []
        for job in jobs:
            if job.id in sifted.shed:
                found.append(SHED)
            else:
                found.append(job.id if job.id in sifted.spilled else next(said))
        return found

    def _concerned(self, jobs: list[NewJob]) -> list[tuple[Queue, int]]:
        """Return the ceilings that these jobs meet, and how many of them each."""
        counts = Counter(base_of(job.queue) for job in jobs if job.run_at is None)
        return [(self.ceilings[name], n) for name, n in counts.items() if name in self.ceilings]

    def _drop(self, rule: Queue, jobs: list[NewJob], refusal: QueueFull) -> set[JobId]:
        dropped = [
            job for job in jobs if _counts(job, rule.name) and job.priority < rule.shed_below
        ]
        for job in dropped:
            self._app.events.emit(JobShed(job.id, job.task, job.queue, str(refusal)))
        self._shed[rule.name] += len(dropped)
        if dropped and time.monotonic() > self._told_at + _REMIND:
            self._told_at = time.monotonic()
            said = ", ".join(f"{n:,} of {name}" for name, n in self._shed.items() if n)
            log.warning("jobs shed since this was said last: %s; %s", said, refusal)
            self._shed.clear()
        return {job.id for job in dropped}

    # ---- what was spilled

    def _spill_of(self, rule: Queue, folder: str) -> Buffer:
        def record(jobs: list[NewJob]) -> Sequence[JobId | None]:
            refusal = self.refusal(rule, len(jobs))
            if refusal is not None:
                raise StoreUnavailable(str(refusal))
            ids = self._app.store.enqueue(jobs)
            self._own[rule.name] += len(jobs)
            return ids

        def refused(job: NewJob, why: str) -> None:
            self._app.events.emit(JobRefused(job.id, job.task, job.queue, why))

        batch = MAX_BATCH if rule.max_depth is None else max(1, rule.max_depth // 10)
        place = f"{folder}/{rule.name.replace('/', '%2F')}"
        return Buffer(
            record,
            refused,
            rule.spill_size,
            place,
            batch=min(batch, MAX_BATCH),
            trouble=f"queue {rule.name} is full",
        )

    def close(self) -> None:
        """Try once more to record what was spilled."""
        for spill in self._spills.values():
            spill.close()


def _counts(job: NewJob, queue: str) -> bool:
    return base_of(job.queue) == queue and job.run_at is None
