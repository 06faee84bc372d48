"""`Queue`: what is said of one queue as a whole, declared by `jobs.queue(name, ...)`.

Invariant: a `Queue` made by `declared` has no fault; its durations are seconds.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Literal, get_args

import msgspec

from turnout.errors import CENTURY, ConfigError

__all__ = ["Queue", "WhenFull", "declared"]

WhenFull = Literal["raise", "wait", "spill", "shed"]
_TEXT = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATIONS = ("max_age", "wait", "target")
_BELOW = range(-100, 102)  # every priority, and one above them all


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """One queue's ceilings; None: none.

    `max_depth` counts jobs that are due and wait, `max_age` bounds how long the oldest has waited.
    What follows at the ceiling, `when_full` says: `wait` is for how long "wait" does, `spill` the
    folder of "spill" and `spill_size` how many jobs may lie there, `shed_below` the priority below
    which "shed" drops. While its oldest job has waited longer than `target`, workers take less from
    queues whose target is longer or none.
    """

    name: str
    max_depth: int | None = None
    max_age: float | None = None
    when_full: WhenFull = "raise"
    wait: float = 5.0
    spill: str | None = None
    spill_size: int = 100_000
    shed_below: int = 0
    target: float | None = None

    @property
    def has_ceiling(self) -> bool:
        """Whether an enqueue has to look before it records."""
        return self.max_depth is not None or self.max_age is not None


def declared(name: str, **options: Any) -> Queue:
    """Return a queue's rule; durations may be seconds, timedeltas, or text such as "5m".

    Raises one ConfigError that lists every fault.
    """
    known = Queue.__struct_fields__[1:]
    unknown = sorted(set(options) - set(known))
    faults = [f"there is no option {each!r}; known: {', '.join(known)}" for each in unknown]
    for each in _DURATIONS:
        if options.get(each) is not None:
            options[each] = _seconds(each, options[each], faults)
    queue = Queue(name=name, **{each: options[each] for each in known if each in options})
    faults += _faults(queue, options)
    if faults:
        msg = f"queue {name!r}:\n" + "\n".join(f"  - {one}" for one in faults)
        raise ConfigError(msg)
    return queue


def _faults(queue: Queue, given: dict[str, Any]) -> list[str]:
    faults = []
    for name in ("max_depth", "spill_size"):
        value = getattr(queue, name)
        if value is not None and not (_is_whole(value) and value >= 1):
            faults.append(f"{name} is a whole number, 1 or more; got {value!r}")
    if not (_is_whole(queue.shed_below) and queue.shed_below in _BELOW):
        faults.append(f"shed_below is a priority, from -100 to 101; got {queue.shed_below!r}")
    if queue.when_full not in get_args(WhenFull):
        known = ", ".join(get_args(WhenFull))
        faults.append(f"when_full is one of {known}; got {queue.when_full!r}")
    elif not queue.has_ceiling and set(given) & {"when_full", "wait", "spill", "shed_below"}:
        faults.append("when_full= and what belongs to it need max_depth= or max_age=")
    for name, way in (("wait", "wait"), ("spill", "spill"), ("shed_below", "shed")):
        if given.get(name) is not None and queue.when_full != way:
            faults.append(f"{name}= says how to {way}: it needs when_full={way!r}")
    if queue.when_full == "spill" and not (isinstance(queue.spill, str) and queue.spill):
        faults.append(
            f'when_full="spill" needs spill=, the path of a folder on this machine; got '
            f"{queue.spill!r}"
        )
    return faults


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _seconds(name: str, value: Any, faults: list[str]) -> float:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    elif isinstance(value, str) and (found := _TEXT.fullmatch(value.strip())):
        value = float(found[1]) * _UNITS[found[2]]
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= CENTURY:
        return float(value)
    faults.append(f'{name} is seconds, a timedelta or text such as "5m", above 0; got {value!r}')
    return 1.0
