"""A ledger's lines, put together job by job. Pure values: no file, no clock.

A ledger that is too large to be held is parted by its jobs. The faults and the ends of runs are
everybody's: a part has all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

import msgspec

from turnout.job import State
from turnout.testing.chaos.faults import Fault, Faults

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from turnout.job import JobRecord

FINAL = frozenset(state.value for state in State if state.is_final)


class Slot(NamedTuple):
    """What a run holds of a limit: one of at most `most` under a key."""

    key: str
    most: int


class Run(msgspec.Struct):
    """One attempt as the task saw it. `ended` None: it never came to an end."""

    started: float
    pid: int
    attempt: int
    fence: int
    slots: tuple[Slot, ...] = ()
    ended: float | None = None
    how: str = ""


class Settle(msgspec.Struct, frozen=True):
    """One outcome that the store confirmed."""

    at: float
    pid: int
    attempt: int
    state: str  # a final one, or retried or snoozed


class Story(msgspec.Struct):
    """Everything the ledger tells of one job. `accepted` None: no enqueue told of it."""

    job: str
    accepted: float | None = None
    kind: str = ""
    key: str = ""
    runs: list[Run] = []
    settles: list[Settle] = []
    voids: int = 0

    @property
    def name(self) -> str:
        """How a verdict speaks of this job."""
        return f"job {self.job} ({self.kind or 'of no enqueue'})"


class End(msgspec.Struct, frozen=True):
    """How a job stands in the store when all is over."""

    state: str
    attempt: int = 0
    crashes: int = 0

    @classmethod
    def of(cls, record: JobRecord) -> End:
        """Return what the checker needs of a record."""
        return cls(record.state.value, record.attempt, record.crashes)


class Tale(msgspec.Struct):
    """A ledger: the jobs by id, the faults, and when runs came to an end."""

    stories: dict[str, Story] = {}
    faults: Faults = msgspec.field(default_factory=Faults)
    ends: list[float] = []


def repeats(story: Story) -> Iterator[tuple[Run, Run]]:
    """Yield each run that has the attempt of one before, after the last of those."""
    last: dict[int, Run] = {}
    for run in story.runs:
        if run.attempt in last:
            yield last[run.attempt], run
        last[run.attempt] = run


def read(lines: Iterable[Sequence[str]]) -> Tale:
    """Put lines together.

    Raises ValueError for a line that is none of a ledger's.
    """
    tale = Tale()
    faults: list[Fault] = []
    for at, word, pid, *fields in lines:
        if word == "fault":
            faults.append(_fault(float(at), fields))
            continue
        _take(tale, float(at), word, int(pid), fields)
    for story in tale.stories.values():
        story.runs.sort(key=lambda run: run.started)
        story.settles.sort(key=lambda settle: settle.at)
    tale.faults = Faults(faults)
    tale.ends.sort()
    return tale


def _fault(at: float, fields: Sequence[str]) -> Fault:
    seconds, kind, victims = fields
    pids = frozenset() if victims == "*" else frozenset(map(int, victims.split(",")))
    return Fault(at, at + float(seconds), kind, pids)


def _take(tale: Tale, at: float, word: str, pid: int, fields: Sequence[str]) -> None:
    story = tale.stories.setdefault(fields[0], Story(fields[0]))
    match word:
        case "accepted":
            story.accepted = at
            story.kind, story.key = fields[1], fields[2] if len(fields) > 2 else ""  # noqa: PLR2004
        case "start":
            slots = tuple(map(_slot, fields[3:]))
            story.runs.append(Run(at, pid, int(fields[1]), int(fields[2]), slots))
        case "end":
            _end(tale, story, at, pid, fields)
        case "settled":
            story.settles.append(Settle(at, pid, int(fields[1]), fields[2]))
        case "void":
            story.voids += 1
        case _:
            msg = f"a ledger has no line {word!r}"
            raise ValueError(msg)


def _slot(field: str) -> Slot:
    key, _, most = field.rpartition("=")
    return Slot(unquote(key), int(most))


def _end(tale: Tale, story: Story, at: float, pid: int, fields: Sequence[str]) -> None:
    attempt, fence, how = int(fields[1]), int(fields[2]), fields[3]
    for run in story.runs:
        if (run.pid, run.attempt, run.fence, run.ended) == (pid, attempt, fence, None):
            run.ended, run.how = at, how
            break
    tale.ends.append(at)
