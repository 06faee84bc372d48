"""A replay: jobs that ended badly go back to their queues at a rate, and it stops when they fail.

                     enough succeeded            no job is left         all are known
    canary (if any) -----------------> running ----------------> finishing ------------> done
       |                                  |                          |
       +--- too few did, or too late -----+--- too many fail, or a person says so --> stopped

This file decides and looks at nothing: `replays.py` keeps replays in the store, a worker drives
them. What became of a replayed job is known of those `watched`, at most `MOST_WATCHED` at a time. A
job counts as failed with its first failed attempt, also when it will be retried.

The invariant: of a canary every job is watched, and none beyond it is sent before it is judged.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from turnout.job import JobId, JobRecord, State
from turnout.limits.faults import number_faults, refuse, whole_faults
from turnout.search import Query

MOST_WATCHED = 150
RECENT = 100  # outcomes by which the share of failures is judged
FEWEST = 10  # outcomes before that share says anything
MOST_RATE = 10_000.0
BURST = 2.0  # seconds of its rate that a replay may catch up on
REPLAYED = (State.DEAD, State.DISCARDED, State.CANCELLED)

Phase = Literal["canary", "running", "finishing", "done", "stopped"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How to replay: `rate` in jobs a second, None for all at once.

    Of the first `canary` jobs the share `canary_share` has to succeed within `canary_within`
    seconds. With `stop_at`, it stops when that share of the last replayed jobs failed.
    """

    rate: float | None = None
    canary: int = 0
    canary_share: float = 0.9
    canary_within: float = 300.0
    stop_at: float | None = None

    def check(self) -> None:
        """Raise ConfigError with every fault."""
        faults = [] if self.rate is None else number_faults("rate", self.rate)
        faults += whole_faults("canary", self.canary, 0)
        faults += number_faults("canary_within", self.canary_within)
        if not faults and self.canary > MOST_WATCHED:
            faults.append(f"canary is at most {MOST_WATCHED} jobs, got {self.canary}")
        if not faults and (self.rate or 0.0) > MOST_RATE:
            faults.append(f"rate is at most {MOST_RATE:,.0f} jobs a second, got {self.rate}")
        for name, share in (("canary_share", self.canary_share), ("stop_at", self.stop_at)):
            if share is not None and not 0 < share <= 1:
                faults.append(f"{name} is a share, above 0 and at most 1; got {share}")
        refuse("replay", faults)


class Replay(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One replay as it stands. `why` says what ended it."""

    id: str
    query: Query
    plan: Plan
    by: str
    begun_at: float
    expected: int  # jobs counted beforehand
    expected_more: bool = False  # there were more than were counted
    phase: Phase = "running"
    why: str = ""
    moved_at: float = 0.0  # the last time that jobs were sent, or its phase changed
    after: JobId | None = None  # where the next step begins
    exhausted: bool = False  # no job is left to be sent
    sent: int = 0
    passed_over: int = 0  # whose unique key was taken, or who were something else by then
    succeeded: int = 0  # of those watched
    failed: int = 0
    watched: tuple[JobId, ...] = ()
    recent: str = ""  # + and -, the newest last

    @property
    def is_over(self) -> bool:
        """Tell whether nothing will be done for it any more."""
        return self.phase in ("done", "stopped")


def begin(replay: Replay, now: float) -> Replay:
    """Return a new replay in its first phase."""
    phase: Phase = "canary" if replay.plan.canary else "running"
    at_once = 0.0 if replay.plan.rate is None else 1 / replay.plan.rate  # for the first job
    return replace(replay, phase=phase, moved_at=now - at_once)


def stop(replay: Replay, why: str, now: float) -> Replay:
    """Return it stopped; one that is over stays as it is."""
    if replay.is_over:
        return replay
    return replace(replay, phase="stopped", why=why, moved_at=now, watched=())


def room(replay: Replay, now: float) -> int | None:
    """Return how many jobs may be sent now; None: as many as there are."""
    if replay.phase not in ("canary", "running") or replay.exhausted:
        return 0
    paced = None if replay.plan.rate is None else _paced(replay.plan.rate, now - replay.moved_at)
    if replay.phase == "running":
        return paced
    left = replay.plan.canary - replay.sent
    return left if paced is None else min(left, paced)


def _paced(rate: float, elapsed: float) -> int:
    """Return what a rate allows after so long; a pause is not caught up on, beyond BURST."""
    return max(int(rate * min(elapsed, max(BURST, 1 / rate)) + 1e-6), 0)


def sent(replay: Replay, ids: list[JobId], passed_over: int, now: float) -> Replay:
    """Return it after `ids` went back to their queues, and others were passed over."""
    free, rate = MOST_WATCHED - len(replay.watched), replay.plan.rate
    # What is left of a job's share of time counts for the next step, or slow rates would lag.
    paid = now if rate is None else replay.moved_at + (len(ids) + passed_over) / rate
    return replace(
        replay,
        sent=replay.sent + len(ids),
        passed_over=replay.passed_over + passed_over,
        watched=(*replay.watched, *ids[:free]),
        moved_at=max(paid, now - BURST),
    )


def verdict_of(record: JobRecord | None) -> bool | None:
    """Tell whether a replayed job went well; None: not known yet.

    One that left no trace went well: failures are kept, successes need not be.
    """
    if record is None or record.state is State.SUCCEEDED:
        return True
    if record.state.is_final or record.attempt or record.crashes:
        return False
    return None


def judged(replay: Replay, records: list[JobRecord]) -> Replay:
    """Return it with what became of the watched jobs."""
    found = {record.id: record for record in records}
    verdicts = {job_id: verdict_of(found.get(job_id)) for job_id in replay.watched}
    good, bad = (sum(one is what for one in verdicts.values()) for what in (True, False))
    if not good + bad:
        return replay
    marks = "".join("+" if one else "-" for one in verdicts.values() if one is not None)
    return replace(
        replay,
        succeeded=replay.succeeded + good,
        failed=replay.failed + bad,
        watched=tuple(job_id for job_id, one in verdicts.items() if one is None),
        recent=(replay.recent + marks)[-RECENT:],
    )


def decide(replay: Replay, now: float) -> Replay:
    """Return it in the phase that follows from what is known."""
    if replay.phase == "canary":
        replay = _judge_canary(replay, now)
    if replay.phase in ("running", "finishing"):
        replay = _judge_failures(replay, now)
    if replay.phase == "running" and replay.exhausted:
        replay = replace(replay, phase="finishing", moved_at=now)
    if replay.phase == "finishing":
        late = now - replay.moved_at > replay.plan.canary_within
        if late or not replay.watched:
            replay = replace(replay, phase="done", moved_at=now, watched=())
    return replay


def _judge_canary(replay: Replay, now: float) -> Replay:
    plan = replay.plan
    size = replay.sent if replay.exhausted else plan.canary
    needed = size * plan.canary_share
    if replay.sent >= size and replay.succeeded >= needed:
        return replace(replay, phase="running", moved_at=now)
    told = f"canary: {replay.succeeded} of {size} succeeded, {plan.canary_share:.0%} were asked"
    if size - replay.failed < needed:
        return stop(replay, told, now)
    if replay.sent >= size and now - replay.moved_at > plan.canary_within:
        return stop(replay, f"{told}, within {plan.canary_within:g} s", now)
    return replay


def _judge_failures(replay: Replay, now: float) -> Replay:
    at, known = replay.plan.stop_at, len(replay.recent)
    failed = replay.recent.count("-")
    if at is None or known < FEWEST or failed < at * known:
        return replay
    return stop(replay, f"{failed} of the last {known} jobs failed, it stops at {at:.0%}", now)
