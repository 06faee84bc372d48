"""Fixtures for pytest, found by themselves once Turnout is installed.

Each gives a function to call with the application; what it changes is undone when the test ends.
The invariant: a test run that uses none of them imports none of the machinery.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from turnout.app import Turnout
    from turnout.testing.clock import FakeClock
    from turnout.testing.runner import Drained
    from turnout.testing.store import StandIn


@pytest.fixture
def turnout_memory() -> Iterator[Callable[[Turnout], StandIn]]:
    """Call it with the application: its jobs live in memory until the test ends."""
    from turnout.testing.store import memory

    with ExitStack() as stack:
        yield lambda jobs: stack.enter_context(memory(jobs))


@pytest.fixture
def turnout_inline() -> Iterator[Callable[..., StandIn]]:
    """Call it with the application: until the test ends, an enqueue runs the job at once.

    A job that raises makes its enqueue raise, unless `raise_errors=False` is given.
    """
    from turnout.testing.inlining import inline

    with ExitStack() as stack:

        def start(jobs: Turnout, *, raise_errors: bool = True) -> StandIn:
            return stack.enter_context(inline(jobs, raise_errors=raise_errors))

        yield start


@pytest.fixture
def turnout_clock() -> Iterator[Callable[..., FakeClock]]:
    """Call it with the application (and a start): its time stands still until `clock.advance`.

    With `turnout_memory` or `turnout_inline`, call this one after them.
    """
    from turnout.testing.clock import FakeClock

    with ExitStack() as stack:

        def start(jobs: Turnout, start: datetime | float | None = None) -> FakeClock:
            return stack.enter_context(FakeClock(start).installed(jobs))

        yield start


@pytest.fixture
def turnout_drain() -> Callable[..., Drained]:
    """Call it with the application: it runs what is ready, as `turnout.testing.drain` does."""
    from turnout.testing.draining import drain

    return drain
