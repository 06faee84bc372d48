"""Where leased jobs that carry limits ask for room, before any of them takes a slot here.

    leased --carries nothing--------------------------------> to its executor
           --every key is known to have room, and grants it--> to its executor, holding its marks
           --a key is full--> wait (default): back to the store until its place in the line comes
                                       (pace.py); no attempt is used up
                              discard: over
                              replace: waits, and whoever waited under that key before it is over

One `mark` asks for a whole lease. What a job holds is renewed by this process's heartbeats while
the job runs, and dropped when its outcome travels. A worker that dies renews nothing: its marks
expire by themselves, later than its epoch does, so that whoever is given the slot runs no sooner
than the dead one is fenced: they live a sixth longer than a worker without heartbeats, and a second
at least.

Invariant: a job reaches an executor only when all its marks were granted under its own lease.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from turnout.current import CurrentJob
from turnout.errors import StoreError
from turnout.job import AttemptRecord, Outcome, State
from turnout.limits.carried import carried_by
from turnout.limits.cooldown import sample_of
from turnout.limits.marks import MAX_MARKS, Mark, Marked
from turnout.shared import SLOTS
from turnout.worker.attempt import lengthened
from turnout.worker.pace import MOST, Line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from turnout.job import JobId, LeasedJob
    from turnout.limits.carried import Carried
    from turnout.limits.shapes import Limit
    from turnout.limits.verdict import Sample
    from turnout.worker.crew import Crew

log = logging.getLogger("turnout.worker")

SLACK = 1 / 6  # of its worker's epoch, by which a mark outlives it
_SOON = 5.0  # seconds for which a dependency's job goes away: it may be well again by then
_UNSURE = (0.5, 2.0)  # seconds until a job asks again whose store did not answer
_UNREADABLE = (30.0, 60.0)  # the same, for a job whose limits make no sense here
_AWAY = Marked(granted=False, live=0, away=True)
_REMEMBER = 86_400.0  # seconds for which it is known who waits under `replace`


class Asks(NamedTuple):
    """One job at the gate."""

    job: LeasedJob
    carried: Carried


class Grant(NamedTuple):
    """What a job holds here, and since when."""

    fence: int
    marks: list[Mark]
    limits: tuple[Limit, ...]
    since: float  # monotonic
    dependency: str | None


class Gate:
    """The limits of this process's jobs. `lease` is how long a worker lives without a heartbeat."""

    def __init__(self, crew: Crew, lease: float) -> None:
        self._crew = crew
        self._ttl = lease + max(1.0, lease * SLACK)
        self.holds: dict[JobId, Grant] = {}
        self._gone: list[tuple[str, str]] = []
        self._lines: defaultdict[str, Line] = defaultdict(Line)
        self._rng = Random()
        self._lock = threading.Lock()  # a renewal must not bring back what was just dropped
        self.deferred = 0

    # ---- in

    def admit(self, leased: list[LeasedJob]) -> list[LeasedJob]:
        """Return the jobs that may start; the others are on their way back."""
        limited = [job for job in leased if job.context is not None]
        asks = [
            Asks(job, carried)
            for job in limited
            if job.context and (carried := carried_by(job.context)) is not None
        ]
        if not asks:
            return leased
        refused: set[JobId] = set()
        for chunk in _chunks(asks):
            refused |= self._ask_safely(chunk)
        return [job for job in leased if job.id not in refused]

    def _ask_safely(self, asks: list[Asks]) -> set[JobId]:
        """Ask; what another program wrote into a job must not end its lease unsettled."""
        try:
            return self._ask(asks)
        except Exception:
            log.exception("limits: asking failed; those jobs wait")
            now = self._crew.app.clock()
            left = [ask.job for ask in asks if ask.job.id not in self.holds]
            for job in left:
                self._back(job, now, now + self._rng.uniform(*_UNREADABLE))
            return {job.id for job in left}

    def _ask(self, asks: list[Asks]) -> set[JobId]:
        """Ask the store for those jobs whose keys may have room; return who is refused."""
        now = self._crew.app.clock()
        asks, held_back = self._watched_over(asks, now)
        over = self._replaced(asks, now)
        hopeful = [ask for ask in asks if ask.job.id not in over and not self._is_full(ask, now)]
        marks = [mark for ask in hopeful for mark in self._marks(ask)]
        answers = self._mark(marks)
        if answers is None:
            answers = [_AWAY] * len(marks)
        refused = {ask.job.id for ask in asks} - {ask.job.id for ask in hopeful}
        told = iter(zip(marks, answers, strict=True))
        for ask in hopeful:
            pairs = [next(told) for _ in ask.carried.limits]
            if all(answer.granted or _is_unknown(mark, answer) for mark, answer in pairs):
                self._say_if_away(ask, pairs)
                self._grant(ask, [mark for mark, _ in pairs], now)
            else:
                self._note_refusals(ask, [answer for _, answer in pairs], now)
                refused.add(ask.job.id)
        for ask in asks:
            if ask.job.id in refused and ask.job.id not in over:
                self._refuse(ask, now)
        return refused | held_back

    def _watched_over(self, asks: list[Asks], now: float) -> tuple[list[Asks], set[JobId]]:
        """Ask the dependencies first; return the jobs left, each with its slot to take, and who
        goes back.
        """
        left: list[Asks] = []
        held_back: set[JobId] = set()
        for ask in asks:
            name = ask.carried.dependency
            if name is None:
                left.append(ask)
                continue
            watched = self._crew.app.watched(name)
            watched.sync(now)
            verdict = watched.admit(ask.job.attempt + 1, now)
            slot = watched.slot()
            if verdict.allowed:
                limits = (*ask.carried.limits, slot)
                left.append(Asks(ask.job, replace(ask.carried, limits=limits)))
                continue
            held_back.add(ask.job.id)
            line = self._lines[slot.name]
            line.slots = slot.most
            at = line.place(now, self._rng, per_start=None, most=_SOON)
            if verdict.until is not None:
                at = max(at, verdict.until + self._rng.uniform(0, 0.1 + (verdict.until - now) / 5))
            self._back(ask.job, now, at)
        return left, held_back

    def _mark(self, marks: list[Mark]) -> list[Marked] | None:
        try:
            return self._crew.app.store.mark(marks) if marks else []
        except StoreError as error:
            log.error("limits: the store did not answer (%s); jobs under a ceiling wait", error)  # noqa: TRY400
            return None

    def _marks(self, ask: Asks) -> Iterator[Mark]:
        owner = f"{ask.job.id}:{ask.job.fence}"
        for limit in ask.carried.limits:
            mark = limit.mark(owner)
            yield replace(mark, ttl=max(mark.ttl, self._ttl)) if limit.held else mark

    def _is_full(self, ask: Asks, now: float) -> bool:
        return any(self._is_closed(limit, now) for limit in ask.carried.limits)

    def _is_closed(self, limit: Limit, now: float) -> bool:
        line = self._lines.get(limit.name)
        return line is not None and now < line.full_until

    def _grant(self, ask: Asks, marks: list[Mark], now: float) -> None:
        limits, name = ask.carried.limits, ask.carried.dependency
        self.holds[ask.job.id] = Grant(ask.job.fence, marks, limits, time.monotonic(), name)
        if name is not None:
            self._crew.app.watched(name).began(ask.job.attempt + 1, now)
        for limit in limits:
            if limit.name in self._lines:
                self._lines[limit.name].granted()

    def _say_if_away(self, ask: Asks, pairs: list[tuple[Mark, Marked]]) -> None:
        name = ask.carried.dependency
        if name is not None and any(answer.away for _, answer in pairs):
            self._crew.app.watched(name).is_away("the shard of its slots is away")

    def _note_refusals(self, ask: Asks, answers: list[Marked], now: float) -> None:
        for limit, answer in zip(ask.carried.limits, answers, strict=True):
            if not answer.granted and answer.live >= limit.most:
                line = self._lines[limit.name]
                line.slots = limit.most
                line.refused(now, answer.until, per_start=limit.per_start)

    # ---- back

    def _refuse(self, ask: Asks, now: float) -> None:
        if ask.carried.dependency is not None:
            self._crew.app.watched(ask.carried.dependency).refused()
        full = [limit for limit in ask.carried.limits if self._is_closed(limit, now)]
        for limit in full:
            if limit.on_conflict == "discard":
                self._over(ask.job, now, f"{limit.kind} limit of {limit.key} is full")
                return
        places = [
            self._lines[limit.name].place(
                now, self._rng, per_start=limit.per_start, most=_most(limit)
            )
            for limit in full
        ]
        self._back(ask.job, now, max(places, default=now + self._rng.uniform(*_UNSURE)))

    def _back(self, job: LeasedJob, now: float, run_at: float) -> None:
        self.deferred += 1
        self._crew.settler.add(Outcome.released(job, now, run_at=run_at))

    def _over(self, job: LeasedJob, now: float, reason: str) -> None:
        current = CurrentJob(job, self._crew, now, None)
        entry = AttemptRecord(
            attempt=job.attempt + 1,
            started_at=now,
            finished_at=now,
            worker=self._crew.name,
            outcome="discarded",
        )
        trail = lengthened(current, entry)
        self._crew.settler.add(Outcome.ended(job, State.DISCARDED, entry, trail, reason=reason))

    # ---- on_conflict="replace"

    def _replaced(self, asks: list[Asks], now: float) -> set[JobId]:
        """End the jobs that a newer one has replaced; note the newest that asks."""
        newest: dict[str, JobId] = {}
        for ask in asks:
            for limit in ask.carried.limits:
                if limit.on_conflict == "replace":
                    newest[limit.name] = max(newest.get(limit.name, ask.job.id), ask.job.id)
        if not newest:
            return set()
        for name, job_id in newest.items():
            newest[name] = self._newest(name, job_id)
        over = set()
        for ask in asks:
            names = {one.name for one in ask.carried.limits if one.on_conflict == "replace"}
            if any(newest[name] > ask.job.id for name in names):
                self._over(ask.job, now, "a newer job under the same limit took its place")
                over.add(ask.job.id)
        return over

    def _newest(self, name: str, job_id: JobId) -> JobId:
        """Return the newest job that has asked under a key; ids grow with time."""
        mark = Mark(key=f"newest {name}", owner="job", ttl=_REMEMBER, value=job_id, expect=None)
        while answers := self._mark([mark]):
            seen = answers[0].value
            if answers[0].granted or seen is None or seen >= job_id:
                return max(job_id, type(job_id)(seen or job_id))
            mark = replace(mark, expect=seen)
        return job_id

    # ---- out

    def ended(self, outcomes: Sequence[Outcome]) -> None:
        """Drop what these jobs held; those that never started give back their starts too."""
        for outcome in outcomes:
            grant = self.holds.get(outcome.job.id)
            if grant is not None and grant.fence == outcome.job.fence:
                unstarted = outcome.state is State.QUEUED and outcome.trail is None
                if grant.dependency is not None:
                    watched = self._crew.app.watched(grant.dependency)
                    watched.ended(None if unstarted else told_by(outcome), outcome.finished_at)
                    watched.sync(outcome.finished_at)
                self.drop(outcome.job.id, started=not unstarted)
        if self._gone:
            self._unmark()

    def drop(self, job_id: JobId, *, started: bool) -> None:
        """Note that a job holds nothing any more; it is dropped with the next trip."""
        grant = self.holds.pop(job_id, None)
        if grant is None:
            return
        seconds = time.monotonic() - grant.since
        for limit, mark in zip(grant.limits, grant.marks, strict=True):
            if limit.held or not started:
                self._gone.append((mark.key, mark.owner))
            if limit.held:
                self._lines[limit.name].held(seconds)

    def _unmark(self) -> None:
        with self._lock:
            gone, self._gone = self._gone, []
            try:
                self._crew.app.store.unmark(gone)
            except StoreError:
                self._gone = gone + self._gone  # or they expire

    def renew(self) -> None:
        """Hold on to what the jobs that run here hold; as often as there are heartbeats."""
        now = self._crew.app.clock()
        for name in [name for name, line in list(self._lines.items()) if line.is_stale(now)]:
            del self._lines[name]
        with self._lock:
            held = [
                mark
                for grant in list(self.holds.values())
                for mark, limit in zip(grant.marks, grant.limits, strict=True)
                if limit.held
            ]
            held.sort(key=lambda mark: mark.key)  # so that each stands by itself
            for start in range(0, len(held), MAX_MARKS):
                self._renew(held[start : start + MAX_MARKS])

    def _renew(self, marks: list[Mark]) -> None:
        answers = self._mark(marks) or []
        for mark, answer in zip(marks, answers, strict=False):
            if not answer.granted and not answer.away:
                job_id = mark.owner.partition(":")[0]
                log.warning("job %s: its slot of %s went to another meanwhile", job_id, mark.key)


def told_by(outcome: Outcome) -> Sample | None:
    """Return what an outcome says of the dependency that its job called; None for nothing.

    An error for which the task's rules discard is an answer: the service did its part.
    """
    error, seconds = outcome.exception, outcome.finished_at - outcome.started_at
    if outcome.state is State.CANCELLED or (
        outcome.state is State.QUEUED and outcome.error is None
    ):
        return None
    if outcome.state is State.DISCARDED:
        error = None
    return sample_of(error, seconds, outcome.finished_at, attempt=outcome.job.attempt + 1)


def _most(limit: Limit) -> float:
    return _SOON if limit.key.startswith(SLOTS) else MOST


def _is_unknown(mark: Mark, answer: Marked) -> bool:
    """Tell whether nobody knows how many call a dependency: its shard is away. It fails open."""
    return answer.away and mark.key.startswith(f"concurrency:{SLOTS}")


def _chunks(asks: Iterable[Asks]) -> Iterator[list[Asks]]:
    chunk: list[Asks] = []
    size = 0
    for ask in asks:
        size += len(ask.carried.limits)
        if size > MAX_MARKS:
            yield chunk
            chunk, size = [], len(ask.carried.limits)
        chunk.append(ask)
    yield chunk
