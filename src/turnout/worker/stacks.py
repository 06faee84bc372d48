"""Reads where the running jobs of this process stand: in threads, and in suspended coroutines.

A job's frame is found by the code that runs its attempt, so nothing is noted while jobs run. The
invariant: only files, lines, functions and source lines are read; no local variable but the job
itself.
"""

from __future__ import annotations

import linecache
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

from turnout import stacks
from turnout.current import CurrentJob
from turnout.stacks import LONGEST, Stack
from turnout.worker.attempt import arun_attempt, run_attempt

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator

    from turnout.worker.crew import Crew

MOST_FRAMES = 60
_ATTEMPTS = (run_attempt.__code__, arun_attempt.__code__)


def tell(crew: Crew) -> None:
    """Keep the stacks of all running jobs in the store. Raises StoreError."""
    texts = standing([] if crew.loop is None else crew.loop.tasks())
    if crew.children is not None:
        texts |= crew.children.standing()
    told = [
        Stack(
            job=running.id,
            task=running.task,
            started_at=running.started_at,
            text=texts.get(running.id, ""),
        )
        for running in list(crew.running.values())
    ]
    stacks.keep(crew.app.store, crew.epoch, crew.app.clock(), told)


def standing(tasks: Iterable[asyncio.Task[Any]]) -> dict[str, str]:
    """Return where the jobs of this process stand: in its threads, and in these tasks of a loop."""
    places = dict(_in_threads())
    for task in list(tasks):
        job, lines = _suspended(task.get_coro())
        if job is not None:
            places.setdefault(job, lines)
    return {job: _text(lines) for job, lines in places.items()}


def _in_threads() -> Iterator[tuple[str, list[str]]]:
    """Yield each job that runs in a thread just now, and its lines from the outermost call."""
    for innermost in sys._current_frames().values():  # noqa: SLF001 - the documented way
        frame: FrameType | None = innermost
        lines: list[str] = []
        while frame is not None and frame.f_code not in _ATTEMPTS:
            lines.append(_line(frame))
            frame = frame.f_back
        job = None if frame is None else frame.f_locals.get("job")
        if isinstance(job, CurrentJob):
            yield job.id, lines[::-1]


def _suspended(coroutine: Any) -> tuple[str | None, list[str]]:
    """Return the job of a coroutine that waits, and where it does."""
    job: str | None = None
    lines: list[str] = []
    while coroutine is not None and len(lines) < MOST_FRAMES:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None and frame.f_code in _ATTEMPTS:
            running = frame.f_locals.get("job")
            job = running.id if isinstance(running, CurrentJob) else None
        elif frame is not None and job is not None:
            lines.append(_line(frame))
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return job, lines


def _line(frame: FrameType) -> str:
    code = frame.f_code
    said = f'  File "{code.co_filename}", line {frame.f_lineno}, in {code.co_qualname}'
    source = linecache.getline(code.co_filename, frame.f_lineno).strip()
    return f"{said}\n    {source[:200]}" if source else said


def _text(lines: list[str]) -> str:
    """Return the innermost calls, as many as fit."""
    kept: list[str] = []
    room = LONGEST
    for line in reversed(lines[-MOST_FRAMES:]):
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    left = len(lines) - len(kept)
    return "\n".join([f"  ({left} calls further out)"] * bool(left) + kept[::-1])
