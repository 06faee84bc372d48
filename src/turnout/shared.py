"""A dependency's state, shared by all who call it: one value, changed by compare-and-set.

A `Watched` is one process's side of it. What happens here (calls that began, calls that ended) is
noted and acted on at once; a few times a second it is replayed on what the others wrote meanwhile:

    read the value last seen -> apply our notes -> write, if it is still what we saw; else once more

So sharing costs a round trip every `EVERY` seconds, however many jobs there are. While the store,
or the shard where the value lives, does not answer, each process goes by what it knows itself:
calls are let through, and it says so, once a minute.

Invariant: `state` is what was shared last, with our own notes since applied.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

import msgspec

from turnout.errors import StoreBusy, StoreError, StoreUnavailable
from turnout.events import DependencyClosed, DependencyOpened
from turnout.limits.breaker import Breaker, BreakerState
from turnout.limits.dependency import Dependency, DependencyState
from turnout.limits.marks import Mark
from turnout.limits.shapes import Limit, concurrency

if TYPE_CHECKING:
    from turnout.app import Turnout
    from turnout.limits.verdict import Sample, Verdict

log = logging.getLogger("turnout.limits")

EVERY = 0.2  # seconds between two exchanges with the store
SLOTS = "dependency:"  # begins the keys of a dependency's slots
_KEPT = 30 * 86_400.0  # seconds for which a state is remembered that nobody changes
_TRIES = 20
_REMIND = 60.0  # seconds between two warnings that it goes alone
_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(DependencyState).decode
Change = Callable[[DependencyState], DependencyState]


class Watched:
    """One dependency, as this process sees it. Any thread may call."""

    def __init__(self, app: Turnout, rule: Dependency) -> None:
        self._app = app
        self.rule = rule
        self._rng = Random()
        self._lock = threading.RLock()
        self._seen: str | None = None
        self._notes: list[Change] = []
        self._synced_at = float("-inf")
        self._told_at = float("-inf")
        self.state = rule.initial(app.clock())

    # ---- for workers

    def admit(self, attempt: int, now: float) -> Verdict:
        """Say whether attempt number `attempt` of a job may call now."""
        with self._lock:
            self.state, verdict = self.rule.admit(self.state, attempt, now, self._rng)
        return verdict

    def slot(self) -> Limit:
        """Return the limit under which a call takes its place: as many as may run at once now."""
        state, most = self.state, 100_000
        if state.adaptive is not None:
            most = int(state.adaptive.limit)
        if state.breaker is not None and state.breaker.phase == "half-open":
            most = min(most, state.breaker.round)
        return concurrency(SLOTS + self.rule.key, max(1, most))

    def began(self, attempt: int, now: float) -> None:
        """Note, for the others, a call that `admit` let through and that has its slot."""
        with self._lock:
            self._notes.append(lambda state: self._paid(state, attempt, now))

    def refused(self) -> None:
        """Take back what `admit` counted: the call found no slot."""
        with self._lock:
            flying = max(0, self.state.in_flight - 1)
            self.state = msgspec.structs.replace(self.state, in_flight=flying)

    def ended(self, sample: Sample | None, now: float) -> None:
        """Learn from a call that ended; None: it says nothing of the dependency."""
        if sample is None:
            self.refused()
            return

        def learn(state: DependencyState) -> DependencyState:
            return self.rule.after(state, sample, now, self._rng)

        with self._lock:
            self.state = learn(self.state)
            self._notes.append(learn)

    def sync(self, now: float) -> None:
        """Exchange with the store, unless that was just done; never raises."""
        with self._lock:
            if now < self._synced_at + EVERY:
                return
            self._synced_at = now
            try:
                self._exchange()
            except StoreError as error:
                self.is_away(error)

    def is_away(self, why: object) -> None:
        """Say, once a minute, that calls go by what this process sees itself, and why."""
        now = time.monotonic()
        if now < self._told_at + _REMIND:
            return
        self._told_at = now
        log.warning(
            "dependency %s: its shared state cannot be reached (%s); this process goes by what it "
            "sees itself, and calls are let through",
            self.rule.key,
            why,
        )

    # ---- by hand

    def open(self) -> None:
        """Let no call through until `close` is said. Raises StoreError."""
        self._by_hand(self._breaker.opened)

    def close(self) -> None:
        """Let calls through, and forget what the breaker saw. Raises StoreError."""
        self._by_hand(lambda _, now: self._breaker.closed(now))

    def reset(self) -> None:
        """Forget all that was learnt. Raises StoreError."""
        self._change(lambda _: self.rule.initial(self._app.clock()))

    def look(self) -> DependencyState:
        """Return the shared state as it is now. Raises StoreError."""
        with self._lock:
            self._exchange()
            return self.state

    # ---- inside

    def _by_hand(self, turn: Callable[[BreakerState, float], BreakerState]) -> None:
        def change(state: DependencyState) -> DependencyState:
            breaker = state.breaker or self._breaker.initial()
            return msgspec.structs.replace(state, breaker=turn(breaker, self._app.clock()))

        self._change(change)

    @property
    def _breaker(self) -> Breaker:
        return self.rule.breaker or Breaker()

    def _change(self, change: Change) -> None:
        with self._lock:
            self._notes.append(change)
            self._exchange()

    def _paid(self, state: DependencyState, attempt: int, now: float) -> DependencyState:
        """Apply a call that began: what it cost, whatever the verdict would be now."""
        breaker, budget = state.breaker, state.budget
        if self.rule.breaker is not None and breaker is not None:
            breaker, _ = self.rule.breaker.admit(breaker, now)
        if self.rule.budget is not None and budget is not None:
            budget, _ = self.rule.budget.admit(budget, attempt, now)
        flying = state.in_flight + 1
        return msgspec.structs.replace(state, in_flight=flying, breaker=breaker, budget=budget)

    def _exchange(self) -> None:
        notes = list(self._notes)
        for _ in range(_TRIES):
            state = self.rule.initial(self._app.clock()) if self._seen is None else self._read()
            was_open = _is_open(state)
            for note in notes:
                state = note(state)
            if self._write(state, only_look=not notes):
                del self._notes[: len(notes)]
                self._tell(state, was_open=was_open)
                return
        msg = f"the state of dependency {self.rule.key} changed under us {_TRIES} times"
        raise StoreBusy(msg)

    def _read(self) -> DependencyState:
        try:
            return _decode(self._seen or "")
        except msgspec.DecodeError:  # a newer Turnout's: begin anew
            return self.rule.initial(self._app.clock())

    def _write(self, state: DependencyState, *, only_look: bool) -> bool:
        key, value = f"state {self.rule.key}", _encode(state).decode()
        slots = Mark(key=self.slot().name, owner="nobody", ttl=1, most=0)
        mark = Mark(key=key, owner="state", ttl=_KEPT, value=value, expect=self._seen)
        if only_look:
            mark = msgspec.structs.replace(mark, most=0)
        answer, flying = self._app.store.mark([mark, slots])
        if answer.away or flying.away:
            raise StoreUnavailable("its shard is away")
        if not answer.granted and answer.value != self._seen:
            self._seen = answer.value
            return False
        if answer.granted:
            self._seen = value
        # The marks know best how many calls are under way: a dead worker's expire.
        self.state = msgspec.structs.replace(state, in_flight=flying.live)
        return True

    def _tell(self, state: DependencyState, *, was_open: bool) -> None:
        is_open = _is_open(state)
        if is_open and not was_open:
            until = None if state.breaker is None else state.breaker.until
            log.warning("dependency %s: its breaker opened", self.rule.key)
            self._app.events.emit(DependencyOpened(self.rule.key, until))
        elif was_open and not is_open:
            log.warning("dependency %s: its breaker closed", self.rule.key)
            self._app.events.emit(DependencyClosed(self.rule.key))


def _is_open(state: DependencyState) -> bool:
    """Tell whether calls are held back: half-open is on the way to either side."""
    return state.breaker is not None and state.breaker.phase != "closed"
