"""Random verbs on the memory store and on an adapter: every answer must be the same.

Whole seconds pass, and every time to live ends half a second off, so that no rule turns on whether
a bound is meant with or without its last instant. Fences are each store's own: a lease is a pair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle, zip_longest
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from conformance.builders import (
    ALL,
    T,
    new_job,
    worker,
)
from conformance.strategies import (
    ENDING,
    ENDINGS,
    EVERYTHING,
    FILTERS,
    PICK,
    QUEUES,
    SPEC,
    SPECS,
    WANTS,
    WORKERS,
)
from turnout.job import (
    Exchanged,
    JobFilter,
    JobId,
    JobRecord,
    LeasedJob,
    NewJob,
    Orders,
    QueueStats,
    Reaped,
    Retention,
    State,
    Want,
)
from turnout.store.memory import MemoryStore
from turnout.store.protocol import Store


@dataclass(eq=False)
class Lease:
    """One lease as the two stores gave it out; it stays here when it is long over."""

    epoch: str
    oracle: LeasedJob
    subject: LeasedJob


class Comparison(RuleBasedStateMachine):
    """Does everything twice. `expected` are the ids that must be there, by our own book-keeping."""

    def __init__(self, subject: Store) -> None:
        super().__init__()
        self.oracle = MemoryStore()
        self.subject = subject
        self.now = T
        self.held: list[Lease] = []
        self.stale: list[Lease] = []  # settled, or taken back: nothing may come of these any more
        self.starts = [0, 0, 0]  # how often each worker began anew: its epochs
        self.reached: Counter[str] = Counter()
        self.sent: list[NewJob] = []  # once or more often
        self.expected: set[JobId] = set()

    def teardown(self) -> None:
        self.subject.close()

    def both(self, verb: str, *args: Any, **options: Any) -> Any:
        """Call a verb on both, demand the same answer and return it."""
        wanted = getattr(self.oracle, verb)(*args, **options)
        assert getattr(self.subject, verb)(*args, **options) == wanted, verb
        return wanted

    def epoch_of(self, n: int) -> str:
        """Return the open epoch of a worker, who begins anew after every end, as workers do."""
        while self.heartbeat_of(self._epoch(n)).lost:
            self.starts[n] += 1
        return self._epoch(n)

    def _epoch(self, n: int) -> str:
        return f"worker {n}, start {self.starts[n]}"

    def heartbeat_of(self, epoch: str, state: Any = "running") -> Orders:
        return self.both("heartbeat", worker(epoch, state=state), ttl=30.5, now=self.now)

    # ---- jobs

    @initialize(specs=st.lists(SPEC, min_size=4, max_size=8))
    def begin_with_some(self, specs: list[dict[str, Any]]) -> None:
        self.enqueue(specs)

    @rule(specs=SPECS)
    def enqueue(self, specs: list[dict[str, Any]]) -> None:
        jobs = [self._new(spec) for spec in specs]
        answer = self.both("enqueue", jobs, now=self.now)
        self.reached["refused"] += answer.count(None)
        self.reached["repeated"] += len(self.expected.intersection(answer))
        self.expected.update(each for each in answer if each is not None)

    def _new(self, spec: dict[str, Any]) -> NewJob:
        if spec["again"] and self.sent:
            return self.sent[spec["pick"] % len(self.sent)]
        delay = spec["delay"]
        job = new_job(
            # Out of order, as ids from several machines are.
            len(self.sent) * 619 % 1_009,
            spec["queue"],
            priority=spec["priority"],
            run_at=None if delay is None else self.now + delay,
            unique=spec["unique"],
        )
        self.sent.append(job)
        return job

    @rule(n=WORKERS, ends=st.lists(ENDING, max_size=5), want=WANTS, late=st.booleans())
    def exchange(self, n: int, ends: list[tuple[str, int]], want: Want | None, late: bool) -> None:
        epoch = self.epoch_of(n)
        own = [lease for lease in self.held if lease.epoch == epoch]
        self._exchange(epoch, list(zip(self.stale[-2:] * late + own, ends, strict=False)), want)

    @rule(
        n=WORKERS,
        specs=SPECS,
        ends=st.lists(ENDING, min_size=1, max_size=6),
        notes=st.sampled_from([0, 0, 1, 2]),
    )
    def enqueue_and_run(
        self, n: int, specs: list[dict[str, Any]], ends: list[tuple[str, int]], notes: int
    ) -> None:
        # In one step, because Hypothesis leaves whole rules out of many of its runs.
        self.enqueue(specs)
        epoch = self.epoch_of(n)
        self._exchange(epoch, [], EVERYTHING)
        own = [lease for lease in self.held if lease.epoch == epoch]
        for lease in own[:notes]:
            self._note(epoch, lease, 50)
        self._exchange(epoch, list(zip(own, cycle(ends), strict=False)), None)

    @precondition(lambda self: self.held)
    @rule(pick=PICK, n=WORKERS, end=ENDING)
    def settle_under_any_epoch(self, pick: int, n: int, end: tuple[str, int]) -> None:
        """Another's lease, or one's own, or under an epoch that is no more."""
        lease = self.held[pick % len(self.held)]
        self._exchange(self._epoch(n), [(lease, end)], None)

    def _exchange(
        self, epoch: str, settles: list[tuple[Lease, tuple[str, int]]], want: Want | None
    ) -> None:
        mine, theirs = (
            store.exchange(
                epoch,
                [
                    ENDINGS[kind](getattr(lease, side), self.now, after)
                    for lease, (kind, after) in settles
                ],
                want,
                now=self.now,
            )
            for side, store in (("oracle", self.oracle), ("subject", self.subject))
        )
        assert theirs.lost == mine.lost
        assert sorted(theirs.settled) == sorted(mine.settled)
        assert not _differences(map(_leased, theirs.leased), map(_leased, mine.leased))
        self.held += map(Lease, [epoch] * len(mine.leased), mine.leased, theirs.leased)
        self._note_what_was_reached(settles, mine)

    def _note_what_was_reached(
        self, settles: list[tuple[Lease, tuple[str, int]]], answer: Exchanged
    ) -> None:
        for lease, (kind, _) in settles:
            ours = lease in self.held and lease.oracle.id in answer.settled
            self.reached[kind if ours else "late settle"] += 1
            if ours:
                self.held.remove(lease)
                self.stale.append(lease)
            if ours and kind == "not kept":
                self._forget({lease.oracle.id})

    @precondition(lambda self: self.held)
    @rule(n=WORKERS, pick=PICK, value=st.integers(0, 100), own=st.booleans())
    def note(self, n: int, pick: int, value: int, own: bool) -> None:
        lease = self.held[pick % len(self.held)]
        self._note(lease.epoch if own else self._epoch(n), lease, value)

    def _note(self, epoch: str, lease: Lease, value: int) -> None:
        text = f'{{"value":{value}}}'
        wanted = self.oracle.note(epoch, lease.oracle, text)
        assert self.subject.note(epoch, lease.subject, text) == wanted
        self.reached["note"] += wanted

    # ---- workers

    @rule(n=WORKERS, state=st.sampled_from(["running"] * 4 + ["quiet", "stopped"]))
    def heartbeat(self, n: int, state: Any) -> None:
        self.heartbeat_of(self._epoch(n), state)
        self.reached[state] += 1

    @rule()
    def reap_the_late(self) -> None:
        self._compare_reaped(*(each.reap(now=self.now) for each in (self.oracle, self.subject)))

    @rule(n=WORKERS, limit=st.sampled_from([1, 2, 1_000]))
    def reap_one(self, n: int, limit: int) -> None:
        # Which of its jobs come first is a store's own business: go on until none is left.
        mine, theirs = [], []
        for store, taken in ((self.oracle, mine), (self.subject, theirs)):
            while some := store.reap(epoch=self._epoch(n), limit=limit, now=self.now):
                assert len(some) <= limit
                taken.extend(some)
        self._compare_reaped(mine, theirs)

    @rule(
        n=WORKERS,
        specs=SPECS,
        fates=st.lists(st.sampled_from(["dies", "dies", "stops"]), min_size=1, max_size=3),
        cancel=st.booleans(),
    )
    def lease_and_end(
        self, n: int, specs: list[dict[str, Any]], fates: list[str], cancel: bool
    ) -> None:
        self.enqueue(specs)
        for fate in fates:
            self._exchange(self.epoch_of(n), [], EVERYTHING)
            if cancel:
                self.change(JobFilter(states=(State.RUNNING,)), "cancel")
            if fate == "dies":
                self.reap_one(n, 1_000)
            else:
                self.heartbeat(n, "stopped")

    def _compare_reaped(self, mine: list[Reaped], theirs: list[Reaped]) -> None:
        assert sorted(theirs, key=_id) == sorted(mine, key=_id)
        self.reached.update(f"reaped {each.state}" for each in mine)

    # ---- operators

    @rule(where=FILTERS, action=st.sampled_from(["retry"] * 4 + ["cancel", "cancel", "delete"]))
    def change(self, where: JobFilter, action: Any) -> None:
        ended = {State.DEAD, State.DISCARDED, State.CANCELLED}
        before = {each.id: each.state for each in self.oracle.find(where, now=self.now)}
        self.reached[action] += self.both("change", where, action, now=self.now)
        for each in self.oracle.find(JobFilter(states=(State.QUEUED,)), now=self.now):
            self.reached["revived"] += before.get(each.id) in ended
        if action == "delete":
            self._forget(self.expected)

    @precondition(lambda self: self.sent)
    @rule(pick=PICK, action=st.sampled_from(["retry", "cancel", "delete"]))
    def change_one(self, pick: int, action: Any) -> None:
        self.change(JobFilter(ids=(self.sent[pick % len(self.sent)].id,)), action)

    @rule(queue=QUEUES, paused=st.sampled_from([False, False, True]))
    def pause(self, queue: str, paused: bool) -> None:
        self.both("pause", queue, paused=paused)

    @rule(
        successes=st.sampled_from([0, 10_000]),
        others=st.sampled_from([1, 10_000]),
        age=st.sampled_from([40.5, 9_999.5]),
        limit=st.sampled_from([1, 3, 10_000]),
    )
    def prune(self, successes: int, others: int, age: float, limit: int) -> None:
        rules = Retention(
            succeeded_count=successes,
            dead_age=age,
            dead_count=others,
            ended_age=2 * age,
            ended_count=others,
        )
        totals = [0, 0]
        for n, store in enumerate((self.oracle, self.subject)):
            while gone := store.prune(rules, limit=limit, now=self.now):
                assert gone <= limit
                totals[n] += gone
        assert totals[1] == totals[0]
        self.reached["pruned"] += totals[0]
        self._forget(self.expected)

    @rule(seconds=st.sampled_from([1, 1, 5, 5, 31, 61, 3_600]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    def _forget(self, maybe: set[JobId]) -> None:
        """Allow these ids to be gone, if the oracle says that they are."""
        left = {each.id for each in self.oracle.find(ALL, limit=10_000, now=self.now)}
        self.expected -= maybe - left

    # ---- what always holds

    @invariant()
    def both_know_the_same_jobs(self) -> None:
        sides = (self.oracle, self.subject)
        mine, theirs = (each.find(ALL, limit=10_000, now=self.now) for each in sides)
        assert not _differences(map(_known, theirs), map(_known, mine))

    @invariant()
    def both_count_the_same(self) -> None:
        mine, theirs = (each.count(now=self.now) for each in (self.oracle, self.subject))
        assert not _differences(_counts(theirs), _counts(mine))

    @invariant()
    def both_see_the_same_workers(self) -> None:
        mine, theirs = (each.workers(now=self.now) for each in (self.oracle, self.subject))
        assert [msgspec.structs.replace(each, bell=None) for each in theirs] == mine

    @invariant()
    def nothing_is_lost_and_nothing_is_in_two_states(self) -> None:
        records = self.subject.find(ALL, limit=10_000, now=self.now)
        ids = [each.id for each in records]
        assert len(ids) == len(set(ids))
        assert set(ids) == self.expected
        for state in State:
            in_state = [each.id for each in records if each.state is state]
            by_filter = self.subject.find(JobFilter(states=(state,)), limit=10_000, now=self.now)
            assert [each.id for each in by_filter] == in_state

    @invariant()
    def counters_agree_with_what_is_there(self) -> None:
        records = self.subject.find(ALL, limit=10_000, now=self.now)
        for each in self.subject.count(now=self.now):
            states = [record.state for record in records if record.queue == each.queue]
            assert each.ready + each.scheduled == states.count(State.QUEUED)
            for state in set(State) - {State.QUEUED}:
                assert getattr(each, state.value) == states.count(state)


def _differences(theirs: Iterable[Any], mine: Iterable[Any]) -> list[Any]:
    """Return the pairs that differ, so that a failure shows them and nothing else."""
    return [pair for pair in zip_longest(theirs, mine) if pair[0] != pair[1]]


def _id(reaped: Any) -> JobId:
    return reaped.id


def _leased(job: LeasedJob) -> LeasedJob:
    """Return a lease without what each store may do its own way: its fence, white space in JSON."""
    trail = job.trail and msgspec.json.encode(msgspec.json.decode(job.trail)).decode()
    return msgspec.structs.replace(job, fence=0, trail=trail)


def _known(record: JobRecord) -> JobRecord:
    """Return a record; of a trace, what every store's trace must tell."""
    if record.args is not None:
        return record
    return JobRecord(
        id=record.id,
        task=record.task,
        queue=record.queue,
        state=record.state,
        attempt=record.attempt,
        started_at=record.started_at,
        finished_at=record.finished_at,
        worker=record.worker,
    )


def _counts(found: list[QueueStats]) -> list[QueueStats]:
    """Return the numbers without the coarse rate, and without queues of which all is gone."""
    plain = [msgspec.structs.replace(each, per_minute=0) for each in found]
    return [each for each in plain if each != QueueStats(queue=each.queue)]
