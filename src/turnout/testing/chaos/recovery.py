"""How long it took until work went on after a fault. Pure, as the checker is.

A recovery during which something else was broken is not counted: its length is that of the other.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from turnout.testing.chaos.faults import GRACEFUL
from turnout.testing.chaos.stories import repeats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.testing.chaos.faults import Fault, Faults
    from turnout.testing.chaos.stories import Run, Tale


def recovery(tale: Tale) -> dict[str, float]:
    """Return the worst time by kind of fault until work went on, in seconds.

    After the end of a process: until each job that ran in it runs again. After a fault that was
    everybody's: from its end until any job came to its end.
    """
    worst: dict[str, float] = {}
    for fault in tale.faults:
        seconds = _until_any(tale.ends, fault.ended) if not fault.pids else None
        if seconds is not None and _is_alone(tale.faults, fault, fault.ended + seconds):
            worst[fault.kind] = max(worst.get(fault.kind, 0.0), seconds)
    for story in tale.stories.values():
        for earlier, later in repeats(story):
            ender = _ender(tale.faults, earlier, later)
            if ender is not None and _is_alone(tale.faults, ender, later.started):
                seconds = later.started - ender.began
                worst[ender.kind] = max(worst.get(ender.kind, 0.0), seconds)
    return {kind: round(seconds, 3) for kind, seconds in sorted(worst.items())}


def _is_alone(faults: Faults, fault: Fault, until: float) -> bool:
    """Tell whether nothing else was broken from the moment counted from until work went on."""
    since = fault.began if fault.pids else fault.ended
    return not any(
        other.began != fault.began  # one that is noted under two kinds disturbs itself
        for other in faults.between(since, until)
    )


def _until_any(ends: Sequence[float], since: float) -> float | None:
    at = bisect_left(ends, since)
    return ends[at] - since if at < len(ends) else None


def _ender(faults: Faults, earlier: Run, later: Run) -> Fault | None:
    """Return the fault that ended a run: it was under way when its process was hit."""
    for fault in faults.between(earlier.started, later.started):
        if earlier.pid not in fault.pids or earlier.how == "ok" or fault.kind in GRACEFUL:
            continue
        if earlier.started <= fault.began:
            return fault
    return None
