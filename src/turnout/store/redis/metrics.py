"""Sidekiq's metrics: how often each class ran, failed, and how long it took, by the minute.

    j|YYMMDD|H:MM   a hash for each minute, UTC: CLASS|p runs, CLASS|f failures, CLASS|ms what the
                    successes took
    j|YYMMDD|H:M    the same for ten minutes: the key without its last character
    h|CLASS-D-H:M   26 counters of 16 bits: how many successes took how long, by BOUNDS

Counted here and written with the heartbeat, as Sidekiq does: a trip every few seconds, not one a
job. What could not be written is kept for the next time.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.job import Outcome
    from turnout.store.redis.connection import Link, Value

BOUNDS = (
    *(20, 30, 45, 65, 100, 150, 225, 335, 500, 750, 1_100, 1_700, 2_500, 3_800, 5_750, 8_500),
    *(13_000, 20_000, 30_000, 45_000, 65_000, 100_000, 150_000, 225_000, 335_000),
)  # milliseconds; a last counter takes what is longer
_FAILED = -1
_MINUTE_KEPT, _TEN_KEPT = 8 * 3_600, 3 * 86_400  # seconds
_MOST = 10_000  # different pairs of class and duration that wait for a server that is away

Marks = Counter[tuple[str, int]]  # class, milliseconds or _FAILED


class Metrics:
    """What this process has run since it last wrote that down."""

    def __init__(self) -> None:
        self._marks: Marks = Counter()
        self._lock = threading.Lock()

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Count settled outcomes; those of jobs that did not run count nothing."""
        # One list for Counter to run through: half the time of counting one by one.
        ran = [
            (
                one.job.task,
                int((one.finished_at - one.started_at) * 1_000) if one.error is None else _FAILED,
            )
            for one in outcomes
            if one.attempt > one.job.attempt
        ]
        with self._lock:
            self._marks.update(ran)

    def write(self, link: Link, now: float | None) -> None:
        """Write down what was counted. When that fails it is counted again, up to a bound."""
        with self._lock:
            marks, self._marks = self._marks, Counter()
        if not marks:
            return
        try:
            link.several(*_commands(marks, time.time() if now is None else now))
        except BaseException:
            with self._lock:
                if len(self._marks) < _MOST:
                    self._marks.update(marks)
            raise


def _commands(marks: Marks, now: float) -> list[tuple[Value, ...]]:
    at = time.gmtime(now)
    minute = f"j|{time.strftime('%y%m%d', at)}|{at.tm_hour}:{at.tm_min:02d}"
    sums: Counter[str] = Counter()
    slots: dict[str, Counter[int]] = {}
    for (name, took), n in marks.items():
        sums[f"{name}|p"] += n
        if took == _FAILED:
            sums[f"{name}|f"] += n
        else:
            sums[f"{name}|ms"] += n * max(took, 0)
            slots.setdefault(name, Counter())[bisect_right(BOUNDS, took)] += n
    commands: list[tuple[Value, ...]] = []
    for key, kept in ((minute, _MINUTE_KEPT), (minute[:-1], _TEN_KEPT)):
        commands += [("HINCRBY", key, field, n) for field, n in sums.items()]
        commands.append(("EXPIRE", key, kept))
    for name, counts in slots.items():
        key = f"h|{name}-{at.tm_mday}-{at.tm_hour}:{at.tm_min}"
        steps: list[Value] = []
        for slot, n in counts.items():
            steps += ["INCRBY", "u16", f"#{slot}", n]
        commands.append(("BITFIELD", key, "OVERFLOW", "SAT", *steps))
        commands.append(("EXPIRE", key, _MINUTE_KEPT))
    return commands
