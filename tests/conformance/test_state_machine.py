"""Random verbs on the memory store and on an adapter: every answer must be the same.

Whole seconds pass, and every time to live ends half a second off, so that no rule turns on whether
a bound is meant with or without its last instant. Fences are each store's own: a lease is a pair.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from conformance.builders import (
    ALL,
    T,
    new_job,
    worker,
)
from conformance.stores import URLS
from conformance.strategies import ENDINGS, EPOCHS, FILTERS, PICK, QUEUES, SETTLES, SPEC, WANTS
from turnout.job import (
    JobFilter,
    JobId,
    JobRecord,
    LeasedJob,
    NewJob,
    QueueStats,
    Retention,
    State,
    Want,
)
from turnout.store import open_store
from turnout.store.memory import MemoryStore
from turnout.store.protocol import Store


@dataclass
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
        self.leases: list[Lease] = []
        self.sent: list[NewJob] = []  # once or more often
        self.expected: set[JobId] = set()

    def teardown(self) -> None:
        self.subject.close()

    def both(self, verb: str, *args: Any, **options: Any) -> Any:
        """Call a verb on both, demand the same answer and return it."""
        wanted = getattr(self.oracle, verb)(*args, **options)
        assert getattr(self.subject, verb)(*args, **options) == wanted, verb
        return wanted

    @initialize()
    def open_two_epochs(self) -> None:
        for epoch in ("e0", "e1"):
            self.heartbeat(epoch, "running")

    # ---- jobs

    @rule(specs=st.lists(SPEC, min_size=1, max_size=4))
    def enqueue(self, specs: list[dict[str, Any]]) -> None:
        jobs = [self._new(spec) for spec in specs]
        answer = self.both("enqueue", jobs, now=self.now)
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

    @rule(epoch=EPOCHS, settles=SETTLES, want=WANTS, own=st.booleans())
    def exchange(
        self, epoch: str, settles: list[tuple[int, str, int]], want: Want | None, own: bool
    ) -> None:
        leases = [lease for lease in self.leases if lease.epoch == epoch or not own]
        chosen = [(leases[pick % len(leases)], *how) for pick, *how in settles if leases]
        sides = [
            store.exchange(
                epoch,
                [
                    ENDINGS[kind](getattr(lease, side), self.now, after)
                    for lease, kind, after in chosen
                ],
                want,
                now=self.now,
            )
            for side, store in (("oracle", self.oracle), ("subject", self.subject))
        ]
        mine, theirs = sides
        assert theirs.lost == mine.lost
        assert sorted(theirs.settled) == sorted(mine.settled)
        assert not _differences(map(_leased, theirs.leased), map(_leased, mine.leased))
        self.leases += map(Lease, [epoch] * len(mine.leased), mine.leased, theirs.leased)
        unkept = {lease.oracle.id for lease, kind, _ in chosen if kind == "not kept"}
        self._forget(unkept & set(mine.settled))

    @precondition(lambda self: self.leases)
    @rule(epoch=EPOCHS, pick=PICK, value=st.integers(0, 100), own=st.booleans())
    def note(self, epoch: str, pick: int, value: int, own: bool) -> None:
        lease = self.leases[pick % len(self.leases)]
        epoch = lease.epoch if own else epoch
        wanted = self.oracle.note(epoch, lease.oracle, f'{{"value":{value}}}')
        assert self.subject.note(epoch, lease.subject, f'{{"value":{value}}}') == wanted

    # ---- workers

    @rule(epoch=EPOCHS, state=st.sampled_from(["running"] * 6 + ["quiet", "stopped"]))
    def heartbeat(self, epoch: str, state: Any) -> None:
        self.both("heartbeat", worker(epoch, state=state), ttl=30.5, now=self.now)

    @rule()
    def reap_the_late(self) -> None:
        mine, theirs = (each.reap(now=self.now) for each in (self.oracle, self.subject))
        assert sorted(theirs, key=_id) == sorted(mine, key=_id)

    @rule(epoch=EPOCHS, limit=st.sampled_from([1, 2, 1_000]))
    def reap_one(self, epoch: str, limit: int) -> None:
        # Which of its jobs come first is a store's own business: go on until none is left.
        mine, theirs = [], []
        for store, taken in ((self.oracle, mine), (self.subject, theirs)):
            while some := store.reap(epoch=epoch, limit=limit, now=self.now):
                assert len(some) <= limit
                taken.extend(some)
        assert sorted(theirs, key=_id) == sorted(mine, key=_id)

    # ---- operators

    @rule(where=FILTERS, action=st.sampled_from(["retry", "retry", "cancel", "delete"]))
    def change(self, where: JobFilter, action: Any) -> None:
        self.both("change", where, action, now=self.now)
        if action == "delete":
            self._forget(self.expected)

    @precondition(lambda self: self.sent)
    @rule(pick=PICK, action=st.sampled_from(["retry", "cancel", "delete"]))
    def change_one(self, pick: int, action: Any) -> None:
        self.change(JobFilter(ids=(self.sent[pick % len(self.sent)].id,)), action)

    @rule(queue=QUEUES, paused=st.booleans())
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
        self._forget(self.expected)

    @rule(seconds=st.sampled_from([1, 5, 31, 61, 3_600]))
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


@pytest.mark.parametrize("name", [name for name in URLS if name != "memory"])
def test_the_adapter_answers_as_the_reference_does(name, tmp_path_factory):
    def compare() -> Comparison:
        store = open_store(URLS[name](tmp_path_factory.mktemp(name)))
        store.setup()
        return Comparison(store)

    run_state_machine_as_test(
        compare,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )
