"""The names of lanes: the jobs of lane `acme` in queue `mail` lie in the queue `mail~acme`.

So every store keeps lanes apart, and in order, without knowing of them; it knows two things only:
that "*" stands for no lane, and that a queue's pause is that of its lanes.

The invariant: no queue's own name holds the separator, so a name tells what it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from turnout.by import By
from turnout.errors import ArgumentError, ConfigError

SEPARATOR = "~"
_LANE = re.compile(r"[A-Za-z0-9_.:/@+-]{1,80}", re.ASCII)


def check_lane(lane: object) -> str:
    """Return a lane's name; raise ConfigError unless it is 1 to 80 of A-Z a-z 0-9 _ - . : / @ +"""
    if isinstance(lane, str) and _LANE.fullmatch(lane):
        return lane
    msg = (
        "a lane's name is 1 to 80 characters out of letters A-Z a-z, digits and _ - . : / @ +, "
        f"got {ascii(lane)[:120]}"
    )
    raise ConfigError(msg)


def lane_queue(queue: str, lane: str) -> str:
    """Return the queue in which a lane's jobs lie."""
    return f"{queue}{SEPARATOR}{lane}"


def base_of(queue: str) -> str:
    """Return the queue that a lane belongs to; the queue itself when it is none."""
    return queue.partition(SEPARATOR)[0]


def lane_of(queue: str) -> str | None:
    """Return the lane's name, None for a queue that is no lane."""
    return queue.partition(SEPARATOR)[2] or None


def is_lane(queue: str) -> bool:
    """Tell whether a queue is a lane of another."""
    return SEPARATOR in queue


def without_paused(ready: Mapping[str, int], paused: Collection[str]) -> dict[str, int]:
    """Return the numbers of the queues that hold something and may be leased from."""
    return {
        queue: n
        for queue, n in ready.items()
        if n > 0 and queue not in paused and base_of(queue) not in paused
    }


class LaneRule:
    """Which lane a task's jobs go to: `by` an argument's name, or what a function returns."""

    def __init__(self, fn: Callable[..., Any], by: str | Callable[..., Any]) -> None:
        self._name = f"{by!r:.80}"
        self._by = By(fn, by, "lane= names")

    def queue(self, queue: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return where a job goes; None for a lane means none. Raises ArgumentError for no name."""
        lane = self._by.value(args, kwargs)
        if lane is None:
            return queue
        try:
            return lane_queue(queue, check_lane(str(lane)))
        except ConfigError as error:
            msg = f"lane by {self._name}: {error}"
            raise ArgumentError(msg) from None
