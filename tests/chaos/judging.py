"""Judges a ledger of any length: it is parted into files, each with some jobs and all faults, so
that only the jobs of one file are held at one time. What is held of all jobs is how they stand in
the end, when runs ended, and a line for each that had a unique key or a limit.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from zlib import crc32

from turnout.testing.chaos.checker import Checker, Verdict, check_effects, unknown_effects
from turnout.testing.chaos.ledger import Ledger
from turnout.testing.chaos.recovery import recovery
from turnout.testing.chaos.stories import End, Tale, read

PART = 40_000_000  # bytes of a ledger whose jobs are held at one time; they take five times that


@dataclass
class Judgement:
    """What a whole ledger tells."""

    verdict: Verdict
    wrong: list[str] = field(default_factory=list)
    accepted: int = 0
    poisoned: int = 0
    recovery: dict[str, float] = field(default_factory=dict)


def judge(
    ledger: Ledger,
    checker: Checker,
    ends: Mapping[str, End],
    effects: Sequence[tuple[str, str]] = (),
    *,
    part: int = PART,
) -> Judgement:
    """Judge what a ledger tells; `effects` are pairs of a job and the receipt that it enqueued."""
    parts = 1 + (ledger.path.stat().st_size if ledger.path.exists() else 0) // part
    written = Counter(job for job, _ in effects)
    receipts = {receipt for _, receipt in effects}
    found = Judgement(Verdict())
    folder = ledger.path.parent / "parts"
    ends_of_runs = part_ledger(ledger, folder, parts)
    for file in sorted(folder.iterdir()):
        tale = read(Ledger(file).lines())
        tale.ends = ends_of_runs
        _name_receipts(tale, receipts)
        checker.take(tale)
        found.wrong += check_effects(tale, ends, written)
        found.accepted += sum(story.accepted is not None for story in tale.stories.values())
        found.poisoned = sum(fault.kind == "poison" for fault in tale.faults)
        for kind, seconds in recovery(tale).items():
            found.recovery[kind] = max(found.recovery.get(kind, 0.0), seconds)
        del tale  # or two parts would be held while the next is read
    shutil.rmtree(folder)
    found.verdict = checker.finish()
    found.wrong = found.verdict.violations + found.wrong + unknown_effects(ends, written)
    return found


def part_ledger(ledger: Ledger, folder: Path, parts: int) -> list[float]:
    """Write each line to the file of its job, a fault to every file; return when runs ended."""
    folder.mkdir()
    ends: list[float] = []
    with ExitStack() as stack:
        files = [stack.enter_context((folder / f"{n:04}").open("wb")) for n in range(parts)]
        source = ledger.path.open("rb") if ledger.path.exists() else BytesIO()
        for line in stack.enter_context(source):
            if not line.endswith(b"\n"):
                break  # it is being written
            at, word, _, job = line.split(b" ", 4)[:4]
            if word == b"fault":
                for file in files:
                    file.write(line)
                continue
            if word == b"end":
                ends.append(float(at))
            files[crc32(job.rstrip()) % parts].write(line)
    return sorted(ends)


def _name_receipts(tale: Tale, receipts: set[str]) -> None:
    """Give the jobs that jobs enqueued their kind: they are known by what they left."""
    for receipt in receipts & tale.stories.keys():
        tale.stories[receipt].kind = "receipt"
