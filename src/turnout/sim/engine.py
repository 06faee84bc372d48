r"""One simulated run: events in virtual time, the production policies deciding.

    arrival -> queue -> (limits ask) -> worker -> call -> ok: done
                 ^                                  \-> failed, timed out, refused, throttled
                 |                                        policy.decide: retry at run_at, or dead
                 +----------------------------------------/

Workers pull: a free one takes the job that is due first, as the store does. A job that a limit
refuses keeps its attempt and waits; a verdict that holds for everybody holds the queue.

Invariants: no more jobs run than there are workers; each job is in one place, the queue, a worker
or the end; equal scenario, contender and seed give the same run.
"""

from __future__ import annotations

import heapq
import math
from itertools import count
from random import Random
from typing import Any

from turnout.limits import Limit, Verdict, sample_of, verdict
from turnout.limits.dependency import DependencyState
from turnout.limits.verdict import ALLOWED
from turnout.sim.arrivals import arrival_times
from turnout.sim.measure import Run, Watch
from turnout.sim.scenario import Contender, Fault, Scenario
from turnout.sim.service import Call, Station
from turnout.store._memory_marks import MemoryMarks

__all__ = ["simulate"]

_RENEWALS = 3  # times within its lease that a worker renews a mark


class SimJob:
    """One job: when it was enqueued, and what its attempts left behind."""

    __slots__ = ("attempt", "counts", "created_at", "ended_at", "number", "owner")

    def __init__(self, number: int, created_at: float) -> None:
        self.number = number
        self.owner = f"job{number}"
        self.created_at = created_at
        self.attempt = 0
        self.counts: dict[str, int] = {}
        self.ended_at: float | None = None


def simulate(scenario: Scenario, contender: Contender, seed: int) -> Run:
    """Run one contender through one seed's day."""
    return Engine(scenario, contender, seed).run()


class Engine:
    """The state of one run."""

    def __init__(self, scenario: Scenario, contender: Contender, seed: int) -> None:
        self._scenario = scenario
        self._contender = contender
        self._rng = Random(f"{seed} policies")
        self._station = Station(scenario.service, Random(f"{seed} service"))
        self._arrivals = arrival_times(
            scenario.arrivals, scenario.duration, Random(f"{seed} arrivals")
        )
        self._events: list[tuple[float, int, str, Any]] = []
        self._queue: list[tuple[float, int, SimJob]] = []
        self._order = count()
        self._free = scenario.workers
        self._held_until = 0.0  # a verdict that holds for everybody
        self._marks = MemoryMarks()
        self._state: DependencyState | None = None
        if contender.dependency is not None:
            self._state = contender.dependency.initial(0.0)
        self._watch = Watch(scenario)
        self._running: dict[int, SimJob] = {}

    def run(self) -> Run:
        """Let the virtual day pass and return what was seen."""
        for fault in self._scenario.faults:
            self._at(fault.at, "begins", fault)
            self._at(fault.ends, "ends", fault)
        for limit in self._held_limits():
            self._at(limit.ttl / _RENEWALS, "renew", limit)
        self._next_arrival()
        while True:
            due = self._events[0][0] if self._events else math.inf
            end = self._station.next_end()
            now = min(due, end)
            if now >= self._scenario.duration:
                break
            self._watch.pass_to(now)
            if end <= due:
                call = self._station.end_next(now)
                self._finished(call, call.ending, now)
            else:
                _, _, kind, what = heapq.heappop(self._events)
                self._happen(kind, what, now)
            self._fill(now)
        self._station.advance(self._scenario.duration)
        return self._watch.result(self._station.done)

    def _at(self, when: float, kind: str, what: object = None) -> None:
        heapq.heappush(self._events, (when, next(self._order), kind, what))

    def _happen(self, kind: str, what: Any, now: float) -> None:
        match kind:
            case "arrival":
                self._enter(self._watch.arrived(now), now)
                self._next_arrival()
            case "timeout":
                self._timed_out(what, now)
            case "answer":
                self._finished(what, what.ending, now)
            case "begins" | "ends":
                self._turn(what, now, begins=kind == "begins")
            case "renew":
                self._renew(what, now)
            case _:
                pass  # "wake": something in the queue became due; the loop looks at it

    def _next_arrival(self) -> None:
        when = next(self._arrivals, None)
        if when is not None:
            self._at(when, "arrival")

    def _enter(self, number: int, now: float) -> None:
        job = SimJob(number, now)
        heapq.heappush(self._queue, (now, number, job))

    # ---- a worker takes a job

    def _fill(self, now: float) -> None:
        while self._free and self._queue and self._queue[0][0] <= now >= self._held_until:
            run_at, _, job = self._queue[0]
            ruling = self._may_start(job, now)
            if ruling.allowed:
                heapq.heappop(self._queue)
                self._start(job, now)
            elif ruling.for_all:
                self._hold(ruling, now)
                return
            else:
                later = ruling.until or run_at
                heapq.heapreplace(self._queue, (later, job.number, job))
                self._at(later, "wake")

    def _hold(self, ruling: Verdict, now: float) -> None:
        """Wait until the named time, or for the next call to end when none was named."""
        if ruling.until is not None and ruling.until > now:
            self._held_until = ruling.until
            self._at(ruling.until, "wake")

    def _may_start(self, job: SimJob, now: float) -> Verdict:
        contender = self._contender
        limits = contender.limits
        if limits:
            answers = self._marks.mark([limit.mark(job.owner) for limit in limits], now)
            for limit, answer in zip(limits, answers, strict=True):
                if not answer.granted and answer.until is not None:
                    ruling = verdict(limit, answer)
                    # A slot is free when its holder ends, long before its lease would.
                    return Verdict(allowed=False, reason=ruling.reason) if limit.held else ruling
        if contender.dependency is None or self._state is None:
            return ALLOWED
        attempt = job.attempt + 1
        self._state, ruling = contender.dependency.admit(self._state, attempt, now, self._rng)
        if not ruling.allowed:
            self._give_back(job, limits)
        return ruling

    def _start(self, job: SimJob, now: float) -> None:
        self._free -= 1
        self._running[job.number] = job
        job.attempt += 1
        self._watch.called(self._scenario.workers - self._free)
        call = Call(job, now)
        refused = self._station.begin(call, now)
        if refused is None:
            self._at(now + self._scenario.service.timeout, "timeout", call)
        else:
            call.ending = refused
            self._at(now + self._scenario.service.refusal, "answer", call)

    # ---- a call ends

    def _timed_out(self, call: Call, now: float) -> None:
        if call.job is not None:
            if call.in_service:
                self._station.abandon(call, now)
            self._finished(call, "timeout", now)

    def _finished(self, call: Call, ending: str, now: float) -> None:
        job: Any = call.job
        if job is None:
            return  # the service ended what nobody waits for any more
        call.job = None
        self._free += 1
        del self._running[job.number]
        self._held_until = min(self._held_until, now)
        self._give_back(job, [limit for limit in self._contender.limits if limit.held])
        error = None
        if ending != "ok":
            asked = self._scenario.service.retry_after
            error = self._contender.raises.make(ending, asked)
        if self._contender.dependency is not None and self._state is not None:
            sample = sample_of(error, now - call.started_at, now, attempt=job.attempt)
            self._state = self._contender.dependency.after(self._state, sample, now, self._rng)
        if error is None:
            self._watch.ended(job.number, now, is_good=True)
        else:
            self._failed(job, error, now)

    def _failed(self, job: SimJob, error: Exception, now: float) -> None:
        decision = self._contender.policy.decide(error, job.attempt, job.counts, now, self._rng)
        job.counts = decision.counts
        if decision.kind != "retry":
            self._watch.ended(job.number, now, is_good=False)
            return
        run_at = now if decision.run_at is None else decision.run_at
        heapq.heappush(self._queue, (run_at, job.number, job))
        self._at(run_at, "wake")

    # ---- faults and marks

    def _turn(self, fault: Fault, now: float, *, begins: bool) -> None:
        for call in self._station.turn(fault, now, begins=begins):
            self._finished(call, "refused", now)

    def _held_limits(self) -> list[Limit]:
        return [limit for limit in self._contender.limits if limit.held]

    def _renew(self, limit: Limit, now: float) -> None:
        for job in self._running.values():
            self._marks.mark([limit.mark(job.owner)], now)
        self._at(now + limit.ttl / _RENEWALS, "renew", limit)

    def _give_back(self, job: SimJob, limits: Any) -> None:
        if limits:
            self._marks.unmark([(limit.mark(job.owner).key, job.owner) for limit in limits])
