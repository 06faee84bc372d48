"""What the memory store holds, and the moves that a job can make in it; no locks, no epochs.

The one invariant: every change of a job's state goes through `_move`, `add` or `remove`, so the
table, the queues' counters and the lists by state always tell the same story.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from typing import NamedTuple

from turnout.job import Action, JobFilter, JobId, NewJob, Outcome, State, Want
from turnout.lanes import base_of, is_lane, without_paused
from turnout.store._memory_job import StoredJob, matches
from turnout.store._memory_queue import LazyHeap, MemoryQueue

_STOPPED = "cancelled while it ran"


class Claim(NamedTuple):
    """Who holds a unique key, until which event, and until when at most."""

    job_id: JobId
    until: str
    expires_at: float | None


class IdList:
    """Ids in order, for keyset paging; ids that moved on are skipped and swept now and then."""

    __slots__ = ("_alive", "_ids", "_limit")

    def __init__(self, alive: Callable[[JobId], bool]) -> None:
        self._alive = alive
        self._ids: list[JobId] = []
        self._limit = 64

    def add(self, job_id: JobId) -> None:
        """Add an id: at the end as a rule, because ids grow with time."""
        ids = self._ids
        at = len(ids) if not ids or job_id > ids[-1] else bisect_left(ids, job_id)
        if at == len(ids) or ids[at] != job_id:
            ids.insert(at, job_id)
        if len(ids) > self._limit:
            self._ids = [known for known in ids if self._alive(known)]
            self._limit = max(64, 2 * len(self._ids))

    def newest_first(self, after: JobId | None) -> Iterator[JobId]:
        """Yield the ids below `after`, or all, from the largest down."""
        ids = self._ids
        end = len(ids) if after is None else bisect_left(ids, after)
        return (ids[at] for at in range(end - 1, -1, -1) if self._alive(ids[at]))


class MemoryState:
    """Jobs, queues and unique keys."""

    def __init__(self) -> None:
        self.jobs: dict[JobId, StoredJob] = {}
        self.queues: dict[str, MemoryQueue] = {}
        self._claims: dict[str, Claim] = {}
        self._stale_claims: LazyHeap[str] = LazyHeap(self._is_claim)  # (expires_at, key)
        self._ids = {state: IdList(self._is_in(state)) for state in State}

    def queue(self, name: str) -> MemoryQueue:
        """Return a queue, new when it was unknown."""
        if name not in self.queues:
            self.queues[name] = MemoryQueue(name, self.jobs)
        return self.queues[name]

    # ---- moves

    def add(self, new: NewJob, now: float) -> JobId | None:
        """Record a job; None when its unique key is taken. A known id is not recorded again."""
        if new.id in self.jobs:
            return new.id
        unique = new.unique
        if unique is not None:
            expires_at = None if unique.ttl is None else now + unique.ttl
            if not self._claim(unique.key, Claim(new.id, unique.until, expires_at), now):
                return None
        job = self.jobs[new.id] = StoredJob.from_new(new, now)
        self.queue(job.queue).enter(job, now)
        self._ids[job.state].add(job.id)
        return job.id

    def remove(self, job: StoredJob) -> None:
        """Delete a job, and free its unique key."""
        self._free(job)
        self.queue(job.queue).leave(job)
        del self.jobs[job.id]

    def lease(self, want: Want, now: float) -> list[StoredJob]:
        """Take what is ready, in the order of the wanted queues, and set it running."""
        taken: list[StoredJob] = []
        for name, room in self._expand(want.queues):
            queue = self.queues.get(name)
            if queue is None or self.is_paused(name):
                continue
            queue.promote(now)
            for _ in range(min(room, want.limit - len(taken))):
                if (job := queue.head()) is None:
                    break
                self._run(job, now)
                taken.append(job)
        return taken

    def requeue(self, job: StoredJob, now: float, *, run_at: float | None = None) -> None:
        """Put a running job back: at `run_at`, or at its old place; cancelled if somebody asked."""
        if job.cancel_requested:
            job.error = None
            self.finish(job, State.CANCELLED, now, reason=_STOPPED)
        else:
            self._line_up(job, now, job.run_at if run_at is None else run_at)

    def settle(self, job: StoredJob, outcome: Outcome, now: float) -> None:
        """Apply what an attempt concluded to its running job."""
        job.attempt = outcome.attempt
        if outcome.crashes is not None:
            job.crashes = outcome.crashes
        if outcome.trail is not None:
            job.trail, job.error = outcome.trail, outcome.error
        if outcome.state is not State.QUEUED:
            self._conclude(job, outcome, now)
        elif job.cancel_requested:
            job.error = outcome.error
            self.finish(job, State.CANCELLED, now, reason=_STOPPED, by=outcome)
        else:
            self.requeue(job, now, run_at=outcome.run_at)

    def finish(
        self,
        job: StoredJob,
        state: State,
        now: float,
        *,
        reason: str | None,
        by: Outcome | None = None,
    ) -> None:
        """End a job: by the outcome of its attempt, or by other hands."""
        job.reason = reason
        job.cancel_requested = False
        job.started_at = None if by is None else by.started_at
        job.finished_at = now if by is None else by.finished_at
        job.worker = None if by is None else job.worker
        self._free(job)
        self._move(job, state, now)
        self.queue(job.queue).note_finished(now)

    def prune_claims(self, limit: int, now: float) -> None:
        """Drop at most `limit` unique keys whose time is over."""
        for _ in range(limit):
            head = self._stale_claims.first()
            if head is None or head[0] >= now:
                return
            del self._claims[head[1]]

    # ---- what a person asks for

    def select(
        self, where: JobFilter, now: float, after: JobId | None = None
    ) -> Iterator[StoredJob]:
        """Yield matching jobs, newest id first; nothing may move meanwhile."""
        if where.ids:
            ids: Iterable[JobId] = sorted(set(where.ids) & self.jobs.keys(), reverse=True)
            ids = (job_id for job_id in ids if after is None or job_id < after)
        else:
            states = (State.QUEUED,) if where.view is not None else where.states or tuple(State)
            lists = (self._ids[state].newest_first(after) for state in dict.fromkeys(states))
            ids = merge(*lists, reverse=True)
        return (job for job in map(self.jobs.__getitem__, ids) if matches(job, where, now))

    def can(self, action: Action, job: StoredJob, now: float) -> bool:
        """Tell whether this action would change the job."""
        if action == "delete":
            return job.state is not State.RUNNING
        if action == "cancel":
            return not job.state.is_final and not job.cancel_requested
        if job.state is State.QUEUED:
            return job.run_at > now
        key = job.finish_key
        revivable = job.state.is_final and job.state is not State.SUCCEEDED
        return revivable and (key is None or not self._is_held(key, now))

    def apply(self, action: Action, job: StoredJob, now: float) -> bool:
        """Do what `can` allowed; False when another job of the same call was in the way."""
        if action == "delete":
            self.remove(job)
        elif action == "retry":
            return self._retry(job, now)
        elif job.state is State.RUNNING:
            job.cancel_requested = True
        else:
            self.finish(job, State.CANCELLED, now, reason="cancelled before it ran")
        return True

    # ---- inside

    def _move(self, job: StoredJob, state: State, now: float) -> None:
        queue = self.queue(job.queue)
        queue.leave(job)
        job.state = state
        queue.enter(job, now)
        self._ids[state].add(job.id)

    def _line_up(self, job: StoredJob, now: float, run_at: float) -> None:
        job.run_at = run_at
        job.started_at = job.finished_at = job.worker = None
        self._move(job, State.QUEUED, now)

    def _run(self, job: StoredJob, now: float) -> None:
        job.started_at = now
        self._move(job, State.RUNNING, now)
        if job.unique is not None and job.unique.until == "start":
            self._free(job)

    def _conclude(self, job: StoredJob, outcome: Outcome, now: float) -> None:
        job.error, job.reason, job.result = outcome.error, outcome.reason, outcome.result
        if outcome.state is State.SUCCEEDED:
            if outcome.keep <= 0:
                self.remove(job)
                self.queue(job.queue).note_finished(now)
                return
            job.keep_until = outcome.finished_at + outcome.keep
            if job.is_plain:
                job.shrink_to_trace()
        self.finish(job, outcome.state, now, reason=outcome.reason, by=outcome)

    def _retry(self, job: StoredJob, now: float) -> bool:
        key = job.finish_key
        if job.state.is_final:
            # Another job of the same call may have taken the key since `can` was asked.
            if key is not None and not self._claim(key, Claim(job.id, "finish", None), now):
                return False
            job.start_afresh()
        self._line_up(job, now, now)
        return True

    def ready(self, now: float) -> dict[str, int]:
        """Return how many jobs of each queue can be leased; the paused are left out."""
        stats = [queue.stats(now) for queue in self.queues.values()]
        paused = {one.queue for one in stats if one.paused}
        return without_paused({one.queue: one.ready for one in stats}, paused)

    def is_paused(self, queue: str) -> bool:
        """Tell whether a queue is paused, or the one that it is a lane of."""
        both = (self.queues.get(name) for name in {queue, base_of(queue)})
        return any(one.paused for one in both if one is not None)

    def _expand(self, queues: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int]]:
        wanted = tuple(queues)
        named = {name for name, _ in wanted}
        for name, room in wanted:
            if name == "*":
                others = sorted(self.queues.keys() - named)
                yield from ((other, room) for other in others if not is_lane(other))
            else:
                yield name, room

    def _claim(self, key: str, claim: Claim, now: float) -> bool:
        if self._is_held(key, now):
            return False
        self._claims[key] = claim
        if claim.expires_at is not None:
            self._stale_claims.push(claim.expires_at, key)
        return True

    def _is_held(self, key: str, now: float) -> bool:
        claim = self._claims.get(key)
        return claim is not None and (claim.expires_at is None or claim.expires_at > now)

    def _free(self, job: StoredJob) -> None:
        if job.unique is None or job.unique.until == "time":
            return
        claim = self._claims.get(job.unique.key)
        if claim is not None and claim.job_id == job.id:
            del self._claims[job.unique.key]

    def _is_claim(self, at: float, key: str) -> bool:
        claim = self._claims.get(key)
        return claim is not None and claim.expires_at == at

    def _is_in(self, state: State) -> Callable[[JobId], bool]:
        def alive(job_id: JobId) -> bool:
            job = self.jobs.get(job_id)
            return job is not None and job.state is state

        return alive
