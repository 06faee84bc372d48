"""Queues that give way: to a queue past its target, or to a store that is under stress.

    full share --pressed--> halved every second, down to one slot a process
    less       --pressed no more--> a tenth more every second, until it is whole again

Pressed is a queue while one of a shorter target has a job that has waited longer than that target,
until its oldest has waited less than half of it; and a queue without a target while `jobs.stress`
says so, or while the store has failed. Each process looks for itself, at the same counters.

Invariant: a queue is never left without a slot, so nothing stands still for a target that cannot
be met; what runs already is left alone.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from turnout.errors import StoreError
from turnout.lanes import base_of

if TYPE_CHECKING:
    from turnout.ceiling import Queue
    from turnout.worker.crew import Crew

log = logging.getLogger("turnout.worker")

EVERY = 1.0  # seconds between two looks
_CUT, _STEP, _LEAST, _WHOLE = 0.5, 0.1, 0.05, 0.999
_REMIND = 60.0
_FOREVER = float("inf")


class Yielding:
    """The shares of this process's slots that its queues may hold. `look` has a thread of its own,
    since neither a slow database nor a slow `stress` may hold up the heartbeat.
    """

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._app = crew.app
        self._names = crew.fetcher.serving
        self._shares: dict[str, float] = {}
        self._why: dict[str, str] = {}
        self._past: dict[str, float] = {}  # queue -> seconds that its oldest job has waited
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._told_at = float("-inf")

    @property
    def is_wanted(self) -> bool:
        """Whether the application says anything that queues could yield to."""
        return bool(self._app.pressure.targets or self._app.pressure.stress is not None)

    def start(self) -> None:
        """Begin to look, if there is anything to look at."""
        if self.is_wanted:
            self._thread = threading.Thread(target=self._run, name="turnout-targets", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._done.set()

    def _run(self) -> None:
        while not self._done.wait(EVERY):
            try:
                self.look()
            except Exception:
                log.exception("targets: looking failed")

    # ---- what the fetcher asks

    def room(self, queue: str) -> float:
        """Return how many more jobs of a queue may be held here, as far as its share goes."""
        share = self._shares.get(queue)
        if share is None:
            return _FOREVER
        return max(1, int(share * self._slots())) - self._busy(queue)

    def slowed(self) -> dict[str, str]:
        """Return the queues that hold back here, each with how far and why."""
        if not self._shares:
            return {}
        slots = self._slots()
        return {
            name: f"{max(1, int(share * slots))} of {slots} slots: {self._why.get(name, '')}"
            for name, share in list(self._shares.items())
        }

    def _slots(self) -> int:
        return max(executor.size for executor in self._crew.executors.values())

    def _busy(self, queue: str) -> int:
        crew = self._crew
        waiting = [job for executor in crew.executors.values() for job in list(executor.ready)]
        names = [base_of(job.queue) for job in list(crew.running.values())]
        names += [base_of(job.queue) for job in waiting]
        if queue == "*":
            return sum(name not in self._names for name in names)
        return names.count(queue)

    # ---- looking

    def look(self) -> None:
        """Look once, and let the shares follow."""
        trouble = self._trouble()
        for name in self._names:
            why = self._pressing(name) or (trouble if self._target(name) == _FOREVER else "")
            share = self._shares.get(name, 1.0)
            if why:
                self._cut(name, share, why)
            elif share + _STEP < _WHOLE:
                self._why[name] = "it comes back by and by"
                self._shares[name] = share + _STEP
            elif self._shares.pop(name, None) is not None:
                log.warning("queue %s has its whole share again", name)

    def _cut(self, name: str, share: float, why: str) -> None:
        if self._why.get(name) != why and name not in self._shares:
            log.warning("queue %s is slowed down: %s", name, why)
        self._why[name] = why
        share *= _CUT
        self._shares[name] = share if share >= _LEAST else 0.0

    def _trouble(self) -> str:
        """Return what is wrong with the store, "" for nothing; learn which queues are late."""
        try:
            for rule in self._app.pressure.targets:
                self._learn(rule)
        except StoreError:
            return "the store is away"
        if self._crew.fetcher.is_failing:
            return "the store is away"
        return "the store is under stress" if self._is_stressed() else ""

    def _learn(self, rule: Queue) -> None:
        seen, target = self._app.backlog(rule.name), rule.target or 0.0
        if seen.paused or seen.age <= target / 2:
            self._past.pop(rule.name, None)
        elif seen.age > target or rule.name in self._past:
            self._past[rule.name] = seen.age

    def _is_stressed(self) -> bool:
        stress = self._app.pressure.stress
        try:
            return stress is not None and bool(stress())
        except Exception as error:  # noqa: BLE001 - a user's
            if time.monotonic() > self._told_at + _REMIND:
                self._told_at = time.monotonic()
                log.warning("jobs.stress failed, which counts as no stress: %r", error)
            return False

    def _pressing(self, name: str) -> str:
        """Return which queue this one yields to, and why; "" for none."""
        own = self._target(name)
        for rule in self._app.pressure.targets:
            # Jobs of a queue that "*" serves would be slowed down with the rest of it.
            hidden = name == "*" and rule.name not in self._names
            if rule.name in self._past and (rule.target or 0.0) < own and not hidden:
                return f"queue {rule.name} is past its target of {rule.target:g} s"
        return ""

    def _target(self, name: str) -> float:
        rule = self._app.pressure.queues.get(name)
        return _FOREVER if rule is None or rule.target is None else rule.target
