"""A ledger's lines, put together job by job. Pure values: no file, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from turnout.job import JobRecord


class Run(msgspec.Struct):
    """One attempt as the task saw it. `ended` None: it never came to an end."""

    started: float
    pid: int
    attempt: int
    fence: int
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


class Fault(msgspec.Struct, frozen=True):
    """Something that was done, from `began` to `ended`; without `pids`, to everybody."""

    began: float
    ended: float
    kind: str
    pids: frozenset[int] = frozenset()


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
    """A whole ledger: the jobs by id, the faults by time, and when runs came to a good end."""

    stories: dict[str, Story] = {}
    faults: list[Fault] = []
    ends: list[float] = []


def read(lines: Iterable[Sequence[str]]) -> Tale:
    """Put lines together. Raises ValueError for one that is none of a ledger's."""
    tale = Tale()
    for at, word, pid, *fields in lines:
        _take(tale, float(at), word, int(pid), fields)
    for story in tale.stories.values():
        story.runs.sort(key=lambda run: run.started)
        story.settles.sort(key=lambda settle: settle.at)
    tale.faults.sort(key=lambda fault: fault.began)
    tale.ends.sort()
    return tale


def _take(tale: Tale, at: float, word: str, pid: int, fields: Sequence[str]) -> None:
    if word == "fault":
        seconds, kind, victims = fields
        pids = frozenset() if victims == "*" else frozenset(map(int, victims.split(",")))
        tale.faults.append(Fault(at, at + float(seconds), kind, pids))
        return
    story = tale.stories.setdefault(fields[0], Story(fields[0]))
    match word:
        case "accepted":
            story.accepted = at
            story.kind, story.key = fields[1], fields[2] if len(fields) > 2 else ""  # noqa: PLR2004
        case "start":
            story.runs.append(Run(at, pid, int(fields[1]), int(fields[2])))
        case "end":
            _end(tale, story, at, pid, fields)
        case "settled":
            story.settles.append(Settle(at, pid, int(fields[1]), fields[2]))
        case "void":
            story.voids += 1
        case _:
            msg = f"a ledger has no line {word!r}"
            raise ValueError(msg)


def _end(tale: Tale, story: Story, at: float, pid: int, fields: Sequence[str]) -> None:
    attempt, fence, how = int(fields[1]), int(fields[2]), fields[3]
    for run in story.runs:
        if (run.pid, run.attempt, run.fence, run.ended) == (pid, attempt, fence, None):
            run.ended, run.how = at, how
            break
    tale.ends.append(at)
