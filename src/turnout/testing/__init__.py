"""Tools for an application's tests: run jobs without a worker, see what was enqueued, move time.

    with memory(jobs):                      # a store of its own for the block
        place_order(7)
        assert_enqueued(jobs, charge, 7)
        assert drain(jobs) == {"succeeded": 1}

    with inline(jobs):                      # an enqueue runs the job at once
        place_order(7)

With pytest, the fixtures `turnout_memory`, `turnout_inline`, `turnout_clock` and `turnout_drain`
undo themselves. Jobs run here by the code that runs them in production, except that a `timeout`
does not stop a `def` task. The names are imported at first use: loading the pytest plugin costs
next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from turnout.testing.asserts import assert_enqueued, enqueued, refute_enqueued
    from turnout.testing.clock import FakeClock
    from turnout.testing.draining import drain
    from turnout.testing.inlining import inline
    from turnout.testing.runner import Drained
    from turnout.testing.store import memory

__all__ = [
    "Drained",
    "FakeClock",
    "assert_enqueued",
    "drain",
    "enqueued",
    "inline",
    "memory",
    "refute_enqueued",
]

_HOMES = {
    "Drained": "runner",
    "FakeClock": "clock",
    "assert_enqueued": "asserts",
    "drain": "draining",
    "enqueued": "asserts",
    "inline": "inlining",
    "memory": "store",
    "refute_enqueued": "asserts",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
