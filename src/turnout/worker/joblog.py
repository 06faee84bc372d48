"""One line for each finished job, written by the batch.

A line by stdlib logging costs 21 us, more than running a small job. These lines are made from the
settled outcomes, joined, and written at once to stderr: about 1 us each. The logger "turnout.jobs"
says which appear: a dead job is an ERROR, a retried one a WARNING, the rest INFO.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from turnout.failure import clean, describe
from turnout.job import State
from turnout.metrics import kind_of

if TYPE_CHECKING:
    from turnout.job import Outcome

log = logging.getLogger("turnout.jobs")
_MOST_SAID = 200  # characters of an error's message on a line of text


class JobLog:
    """Writes the lines; `form` is text or json."""

    def __init__(self, form: Literal["text", "json"] = "text") -> None:
        self._line: Callable[[Outcome], str] = _json_line if form == "json" else _text_line

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """Write a line for each outcome; a closed stream is nobody's failure."""
        if not log.isEnabledFor(logging.INFO):
            failures = [one for one in outcomes if one.error or one.crashes]
            outcomes = [one for one in failures if log.isEnabledFor(_level(one))]
        try:
            sys.stderr.write("".join([self._line(outcome) for outcome in outcomes]))
            sys.stderr.flush()
        except (OSError, ValueError):
            return


_second = [0, ""]  # the last second that was formatted, and how


def _clock(at: float) -> str:
    second = int(at)
    if _second[0] != second:
        _second[:] = [second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))]
    return f"{_second[1]}.{int((at - second) * 1000):03d}"


def _text_line(outcome: Outcome) -> str:
    job = outcome.job
    took = (outcome.finished_at - outcome.started_at) * 1000
    level = logging.getLevelName(_level(outcome))
    head = f"{_clock(outcome.finished_at)} {level:<5} {kind_of(outcome)} {job.task} {job.id}"
    tail = f" queue={job.queue} attempt={job.attempt + 1} ms={took:.1f}"
    if outcome.error is not None:
        tail += f" error={clean(outcome.error)}{_said(outcome, ' ')}"
    if outcome.crashes is not None:
        tail += f" crashes={outcome.crashes}"
    if outcome.run_at is not None:
        tail += f" again_in={outcome.run_at - outcome.finished_at:.1f}s"
    return f"{head}{tail}\n"


def _json_line(outcome: Outcome) -> str:
    job = outcome.job
    line: dict[str, Any] = {
        "time": outcome.finished_at,
        "level": logging.getLevelName(_level(outcome)).lower(),
        "event": f"job.{kind_of(outcome)}",
        "job": job.id,
        "task": job.task,
        "queue": job.queue,
        "attempt": job.attempt + 1,
        "ms": round((outcome.finished_at - outcome.started_at) * 1000, 3),
    }
    if outcome.error is not None:
        line["error"] = outcome.error
        line["message"] = _said(outcome)
    if outcome.crashes is not None:
        line["crashes"] = outcome.crashes
    if outcome.run_at is not None:
        line["run_at"] = outcome.run_at
    return msgspec.json.encode(line).decode() + "\n"


def _level(outcome: Outcome) -> int:
    """Return how loud a line is: a person must look at the dead, and may at what failed."""
    if outcome.error is None and outcome.crashes is None:
        return logging.INFO
    return {State.DEAD: logging.ERROR, State.QUEUED: logging.WARNING}.get(
        outcome.state, logging.INFO
    )


def _said(outcome: Outcome, before: str = "") -> str:
    """Return the error's message on one line, in quotes after `before`; bare without."""
    if outcome.exception is None:
        return ""
    message = describe(outcome.exception)[1]
    return f"{before}{message[:_MOST_SAID]!r}" if before else message
