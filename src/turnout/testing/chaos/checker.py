"""Says what is wrong with what happened. Pure: tales and final states in, a verdict out.

What must hold, whatever was done to whom:

* a job whose enqueue returned, and a job that ever ran, is in exactly one final state, of those
  that its kind allows;
* the store confirmed at most one outcome an attempt, nothing after a final one, and the final one
  is what the store says;
* one lease starts one run; attempts start at 1, have no gaps, and never go back;
* a job is run twice under one attempt, or after its end, only where a fault of the right kind was
  near; each such run is counted, and one that no fault explains is a violation;
* two jobs of one unique key never run at one time, and of those under one limit never more than
  it allows: `overlap.py`.

A fault explains a doubled run when it touched one of its two processes, or everybody, between the
beginning of the first and of the second. A graceful stop explains only runs that it interrupted.

A tale too long to be held is taken in parts, each with some of the jobs and with all faults. What a
verdict holds does not grow with the jobs that went well; what runs beside what is kept, as a few
numbers a run.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from turnout.store.protocol import POISON
from turnout.testing.chaos.faults import GRACEFUL, Faults
from turnout.testing.chaos.overlap import Limited, Overlap, Reach
from turnout.testing.chaos.stories import FINAL, repeats

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from turnout.testing.chaos.faults import Fault
    from turnout.testing.chaos.stories import End, Run, Settle, Story, Tale

_MEMORY = 1.0  # seconds of outcomes that a store which does not wait for the disk may lose


class Verdict(msgspec.Struct):
    """What the checker found. `violations` empty: nothing is wrong."""

    jobs: int = 0
    runs: int = 0
    states: Counter[str] = msgspec.field(default_factory=Counter)
    lost: list[str] = []
    violations: list[str] = []
    doubled: Counter[str] = msgspec.field(
        default_factory=Counter
    )  # runs that had come to a good end and were run again
    interrupted: Counter[str] = msgspec.field(
        default_factory=Counter
    )  # runs that had not, and were run again
    forgotten: int = 0  # outcomes of its last second that a crashed server had confirmed
    void: int = 0  # late outcomes that the store refused
    quarantined: int = 0
    window: float = 0.0  # seconds before a kill within which a run had ended that was run again
    limited: Limited = msgspec.field(default_factory=Limited)


class Checker:
    """Judges tales. `ends` are the final states, `kinds` tells which of them a kind may reach."""

    def __init__(
        self,
        ends: Mapping[str, End],
        *,
        kinds: Mapping[str, Collection[str]],
        reach: Reach = Reach(),  # noqa: B008 - frozen
    ) -> None:
        self._ends = ends
        self._kinds = kinds
        self._reach = reach
        self._faults = Faults()
        self._forgotten: set[tuple[str, int]] = set()
        self._overlap = Overlap(reach)
        self._verdict = Verdict()

    def take(self, tale: Tale) -> None:
        """Judge a tale, or the next part of one."""
        self._faults = tale.faults
        verdict = self._verdict
        for story in tale.stories.values():
            verdict.jobs += 1
            verdict.runs += len(story.runs)
            verdict.void += story.voids
            self._check_end(story)
            self._check_settles(story)
            self._check_runs(story)
        self._overlap.take(tale.stories.values(), tale.faults)

    def finish(self) -> Verdict:
        """Return the verdict on all that was taken."""
        self._verdict.violations += self._overlap.faults()
        self._verdict.limited = self._overlap.limited
        return self._verdict

    def _wrong(self, story: Story, what: str) -> None:
        self._verdict.violations.append(f"{story.name}: {what}")

    # ---- where it ended

    def _check_end(self, story: Story) -> None:
        end = self._ends.get(story.job)
        if end is None or end.state not in FINAL:
            self._verdict.lost.append(story.job)
            self._wrong(story, "lost: " + ("gone" if end is None else f"still {end.state}"))
            return
        self._verdict.states[end.state] += 1
        allowed = self._kinds.get(story.kind)
        if end.state == "dead" and end.crashes >= POISON:
            self._verdict.quarantined += 1
            self._check_quarantine(story, end)
        elif allowed is not None and end.state not in allowed:
            self._wrong(story, f"ended as {end.state}, expected {' or '.join(sorted(allowed))}")
        if end.state == "succeeded":
            self._check_success(story, end)

    def _check_success(self, story: Story, end: End) -> None:
        good = [run for run in story.runs if run.how == "ok" and run.attempt == end.attempt]
        if not good:
            self._wrong(story, f"succeeded in attempt {end.attempt}, which never came to its end")

    def _check_quarantine(self, story: Story, end: End) -> None:
        """Every crash that convicted it must be one that somebody made."""
        first = story.runs[0].started if story.runs else story.accepted or 0.0
        made = sum(1 for _ in self._faults.between(first - self._reach.slack, float("inf")))
        if made < end.crashes:
            self._wrong(story, f"{end.crashes} crashes counted, {made} faults were made")

    # ---- what was settled

    def _check_settles(self, story: Story) -> None:
        # By attempt: a line is written after the fact, and may come after that of the next attempt.
        counted = [one for one in story.settles if one.state != "snoozed"]
        counted.sort(key=lambda one: (one.attempt, one.at))
        for earlier, later in pairwise(counted):
            if later.attempt == earlier.attempt and not self._was_forgotten(story, earlier):
                what = f"attempt {later.attempt} was settled twice: {earlier.state}, {later.state}"
                self._wrong(story, what)
            if earlier.state in FINAL and later.attempt > earlier.attempt:
                self._wrong(story, f"attempt {later.attempt} was settled after the end")
        end = self._ends.get(story.job)
        final = next((one for one in reversed(counted) if one.state in FINAL), None)
        if final and end and end.state in FINAL and final.state != end.state:
            self._wrong(story, f"was settled as {final.state}, the store says {end.state}")

    def _was_forgotten(self, story: Story, settle: Settle) -> bool:
        """Tell whether the store was crashed right after it had confirmed this, and may forget it.

        Then the job runs again; its outcome counts once all the same.
        """
        if (story.job, settle.attempt) in self._forgotten:
            return False  # one crash explains one
        faults = self._faults.between(settle.at, settle.at + _MEMORY)
        near = any(fault.kind in self._reach.forgets for fault in faults)
        if near:
            self._forgotten.add((story.job, settle.attempt))
            self._verdict.forgotten += 1
        return near

    # ---- how it ran

    def _check_runs(self, story: Story) -> None:
        leases = Counter(run.fence for run in story.runs)
        for fence, times in leases.items():
            if times > 1:
                self._wrong(story, f"one lease ({fence}) started {times} runs")
        self._check_gaps(story)
        for earlier, later in pairwise(story.runs):
            if later.attempt < earlier.attempt and not self._why(earlier, later):
                self._wrong(story, f"attempt {later.attempt} began after attempt {earlier.attempt}")
        for earlier, later in repeats(story):
            self._judge_repeat(story, earlier, later)
        self._check_nothing_after_the_end(story)

    def _check_gaps(self, story: Story) -> None:
        """Check attempt 1, 2, 3. One that failed before the task began has only its settle.

        A transactional task whose database is out of reach never begins.
        """
        ran = {run.attempt for run in story.runs}
        missing = set(range(1, max(ran, default=0))) - ran
        for attempt in sorted(missing - {settle.attempt for settle in story.settles}):
            later = next(run for run in story.runs if run.attempt > attempt)
            since = later.started if story.accepted is None else story.accepted
            if not any(self._faults.between(since, later.started)):
                self._wrong(story, f"attempt {later.attempt} began, and {attempt} never did")

    def _judge_repeat(self, story: Story, earlier: Run, later: Run) -> None:
        fault = self._why(earlier, later)
        if fault is None:
            state = "had come to its end" if earlier.how == "ok" else "had not come to its end"
            self._wrong(
                story,
                f"attempt {later.attempt} ran twice and no fault explains it: the run of "
                f"{earlier.pid} at {earlier.started:.3f} {state}, {later.pid} began another at "
                f"{later.started:.3f}",
            )
            return
        if earlier.how != "ok":
            self._verdict.interrupted[fault.kind] += 1
            return
        self._verdict.doubled[fault.kind] += 1
        if fault.pids and earlier.ended is not None and fault.began >= earlier.ended:
            self._verdict.window = max(self._verdict.window, fault.began - earlier.ended)

    def _check_nothing_after_the_end(self, story: Story) -> None:
        final = next((one for one in story.settles if one.state in FINAL), None)
        if final is None or (story.job, final.attempt) in self._forgotten:
            return
        for run in story.runs:
            # The line of a settle is written after the settle: who starts later starts too late.
            if run.started > final.at and not self._touched(run.pid, run.started):
                self._wrong(
                    story, f"{run.pid} began it {run.started - final.at:.3f} s after its end"
                )

    # ---- what explains it

    def _why(self, earlier: Run, later: Run) -> Fault | None:
        """Return the fault that explains why a job was run again; one of its own before others."""
        found: Fault | None = None
        since = earlier.started - self._reach.slack
        for fault in self._faults.between(since, later.started):
            mine = {earlier.pid, later.pid} & fault.pids
            if fault.pids and not mine:
                continue
            if fault.kind in GRACEFUL and earlier.how == "ok":
                continue
            found = fault if found is None or mine else found
        return found

    def _touched(self, pid: int, at: float) -> bool:
        """Tell whether a fault hit this process, or everybody, not long before."""
        return any(fault.touches(pid) for fault in self._faults.between(at - self._reach.slack, at))


def check_effects(tale: Tale, ends: Mapping[str, End], effects: Mapping[str, int]) -> list[str]:
    """Return the faults of effects written in the jobs' own transactions, by job id.

    A job that succeeded has left its effect once, any other none.
    """
    faults = []
    for story in tale.stories.values():
        if story.kind != "charge":
            continue
        end, times = ends.get(story.job), effects.get(story.job, 0)
        expected = 1 if end is not None and end.state == "succeeded" else 0
        if times != expected:
            state = "gone" if end is None else end.state
            faults.append(f"job {story.job} is {state} and left its effect {times} times")
    return faults


def unknown_effects(ends: Mapping[str, End], effects: Mapping[str, int]) -> list[str]:
    """Return the faults of effects that no known job has left."""
    unknown = sorted(effects.keys() - ends.keys())
    return [f"job {job} left an effect and is unknown" for job in unknown]
