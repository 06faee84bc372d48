"""Says what is wrong with what happened. Pure: stories, final states and faults in, a verdict out.

What must hold, whatever was done to whom:

* a job whose enqueue returned, and a job that ever ran, is in exactly one final state, of those
  that its kind allows;
* the store confirmed at most one outcome an attempt, nothing after a final one, and the final one
  is what the store says;
* one lease starts one run; attempts start at 1, have no gaps, and never go back;
* a job is run twice under one attempt, or after its end, only where a fault of the right kind was
  near; each such run is counted, and one that no fault explains is a violation;
* two jobs of one unique key never run at one time.

A fault explains a doubled run when it touched one of its two processes, or everybody, between the
beginning of the first and of the second. A graceful stop explains only runs that it interrupted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from turnout.job import State
from turnout.store.protocol import POISON

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from turnout.testing.chaos.stories import End, Fault, Run, Settle, Story, Tale

GRACEFUL = frozenset({"terminate", "roll"})
_MEMORY = 1.0  # seconds of outcomes that a store which does not wait for the disk may lose
_FINAL = frozenset(state.value for state in State if state.is_final)


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


class Checker:
    """Judges one tale. `kinds` tells which final states the jobs of a kind may reach.

    `slack` is how long after its end a fault may still cost somebody his lease, in seconds.
    `forgets` names the faults after which the store may have lost outcomes of the last second, by
    its own documentation.
    """

    def __init__(
        self,
        tale: Tale,
        ends: Mapping[str, End],
        *,
        kinds: Mapping[str, Collection[str]],
        slack: float = 5.0,
        forgets: Collection[str] = (),
    ) -> None:
        self._tale = tale
        self._ends = ends
        self._kinds = kinds
        self._slack = slack
        self._forgets = forgets
        self._forgotten: set[tuple[str, int]] = set()
        self.verdict = Verdict()

    def check(self) -> Verdict:
        """Return the verdict on the whole tale."""
        verdict = self.verdict
        for story in self._tale.stories.values():
            verdict.jobs += 1
            verdict.runs += len(story.runs)
            verdict.void += story.voids
            self._check_end(story)
            self._check_settles(story)
            self._check_runs(story)
        self._check_unique()
        return verdict

    def _wrong(self, story: Story, what: str) -> None:
        self.verdict.violations.append(f"job {story.job} ({story.kind or 'of no enqueue'}): {what}")

    # ---- where it ended

    def _check_end(self, story: Story) -> None:
        end = self._ends.get(story.job)
        if end is None or end.state not in _FINAL:
            self.verdict.lost.append(story.job)
            self._wrong(story, "lost: " + ("gone" if end is None else f"still {end.state}"))
            return
        self.verdict.states[end.state] += 1
        allowed = self._kinds.get(story.kind)
        if end.state == "dead" and end.crashes >= POISON:
            self.verdict.quarantined += 1
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
        made = [f for f in self._tale.faults if f.ended + self._slack >= first]
        if len(made) < end.crashes:
            self._wrong(story, f"{end.crashes} crashes counted, {len(made)} faults were made")

    # ---- what was settled

    def _check_settles(self, story: Story) -> None:
        # By attempt: a line is written after the fact, and may come after that of the next attempt.
        counted = [one for one in story.settles if one.state != "snoozed"]
        counted.sort(key=lambda one: (one.attempt, one.at))
        for earlier, later in pairwise(counted):
            if later.attempt == earlier.attempt and not self._was_forgotten(story, earlier):
                what = f"attempt {later.attempt} was settled twice: {earlier.state}, {later.state}"
                self._wrong(story, what)
            if earlier.state in _FINAL and later.attempt > earlier.attempt:
                self._wrong(story, f"attempt {later.attempt} was settled after the end")
        end = self._ends.get(story.job)
        final = next((one for one in reversed(counted) if one.state in _FINAL), None)
        if final and end and end.state in _FINAL and final.state != end.state:
            self._wrong(story, f"was settled as {final.state}, the store says {end.state}")

    def _was_forgotten(self, story: Story, settle: Settle) -> bool:
        """Tell whether the store was crashed right after it had confirmed this, and may forget it.

        Then the job runs again; its outcome counts once all the same.
        """
        if (story.job, settle.attempt) in self._forgotten:
            return False  # one crash explains one
        crashes = (fault for fault in self._tale.faults if fault.kind in self._forgets)
        near = any(fault.began - _MEMORY <= settle.at <= fault.ended for fault in crashes)
        if near:
            self._forgotten.add((story.job, settle.attempt))
            self.verdict.forgotten += 1
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
            if not any(f.began <= later.started and f.ended >= since for f in self._tale.faults):
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
            self.verdict.interrupted[fault.kind] += 1
            return
        self.verdict.doubled[fault.kind] += 1
        if fault.pids and earlier.ended is not None and fault.began >= earlier.ended:
            self.verdict.window = max(self.verdict.window, fault.began - earlier.ended)

    def _check_nothing_after_the_end(self, story: Story) -> None:
        final = next((one for one in story.settles if one.state in _FINAL), None)
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
        for fault in self._tale.faults:
            if fault.began > later.started:
                break
            mine = {earlier.pid, later.pid} & fault.pids
            if fault.pids and not mine:
                continue
            if fault.ended + self._slack < earlier.started:
                continue
            if fault.kind in GRACEFUL and earlier.how == "ok":
                continue
            found = fault if found is None or mine else found
        return found

    def _touched(self, pid: int, at: float) -> bool:
        """Tell whether a fault hit this process, or everybody, not long before."""
        return any(
            (pid in fault.pids or not fault.pids) and fault.began <= at <= fault.ended + self._slack
            for fault in self._tale.faults
        )

    # ---- unique keys

    def _check_unique(self) -> None:
        holders: defaultdict[str, list[Story]] = defaultdict(list)
        for story in self._tale.stories.values():
            if story.key:
                holders[story.key].append(story)
        for stories in holders.values():
            spans = sorted(filter(None, map(_valid_span, stories)), key=lambda span: span[0])
            for (_, ended, one), (began, _, other) in pairwise(spans):
                if began < ended:
                    self._wrong(other, f"ran beside job {one.job} of the same unique key")


def repeats(story: Story) -> Iterator[tuple[Run, Run]]:
    """Yield each run that has the attempt of one before, after the last of those."""
    last: dict[int, Run] = {}
    for run in story.runs:
        if run.attempt in last:
            yield last[run.attempt], run
        last[run.attempt] = run


def _valid_span(story: Story) -> tuple[float, float, Story] | None:
    """Return from when to when the run lasted whose outcome was confirmed."""
    for settle in story.settles:
        for run in story.runs:
            same = (run.pid, run.attempt) == (settle.pid, settle.attempt)
            if same and run.ended is not None and settle.state in _FINAL:
                return run.started, run.ended, story
    return None


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
    faults += [f"job {job} left an effect and is unknown" for job in effects.keys() - ends.keys()]
    return faults
