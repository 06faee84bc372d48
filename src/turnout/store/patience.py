"""How long somebody waits for the store: a bound around any number of calls.

    with patient(8.0):                 whoever shows a page says so, once, around all that it reads
        store.find(...)                each adapter takes what is left of the time to its server

When the time is up the store stops working on the question, and the caller gets StoreSlow: that
nobody waits for an answer any more must not leave a server busy with it. How each is told:

    SQLite             a progress handler, which ends the statement
    PostgreSQL         statement_timeout, but not through a pooler, which forgets what a session set
    MariaDB, MySQL     max_statement_time, max_execution_time (MySQL knows that for SELECT alone)
    Redis              nothing is sent any more: a long look is many short commands

The invariant: without a bound nothing is different, and nothing of a bound outlives its block.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

from turnout.errors import StoreBusy, StoreSlow

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

PATIENCE = 8.0  # seconds that a person waits for a page


class _Bound(NamedTuple):
    seconds: float
    until: float


_bound: ContextVar[_Bound | None] = ContextVar("turnout_patience", default=None)


@contextmanager
def patient(seconds: float | None = None) -> Iterator[None]:
    """Wait for the store at most so many seconds (PATIENCE), all calls of the block together.

    Raises StoreSlow when the time is up. What a call that changes had not committed is undone.
    """
    seconds = PATIENCE if seconds is None else seconds
    bound = _Bound(seconds, time.monotonic() + seconds)
    outer = _bound.get()
    token = _bound.set(bound if outer is None else min(bound, outer, key=lambda one: one.until))
    try:
        yield
    except StoreSlow:
        raise
    except StoreBusy as error:
        if is_over():
            raise _slow(error) from error
        raise
    finally:
        _bound.reset(token)


def left() -> float | None:
    """Return how many seconds are left, None without a bound; raises StoreSlow when none are."""
    bound = _bound.get()
    if bound is None:
        return None
    seconds = bound.until - time.monotonic()
    if seconds <= 0:
        raise _slow()
    return seconds


def is_bounded() -> bool:
    """Tell whether somebody waits who has said for how long."""
    return _bound.get() is not None


def is_over() -> bool:
    """Tell whether the time is up; never without a bound."""
    bound = _bound.get()
    return bound is not None and time.monotonic() >= bound.until


def timer() -> Callable[[], bool] | None:
    """Return what tells, in any thread, whether the time is up; None without a bound."""
    bound = _bound.get()
    if bound is None:
        return None
    left()
    return lambda: time.monotonic() >= bound.until


@contextmanager
def held(lock: threading.Lock) -> Iterator[None]:
    """Hold a lock that others hold while they ask the store; raises StoreSlow when that lasts."""
    seconds = left()
    if not lock.acquire(timeout=-1 if seconds is None else seconds):
        raise _slow()
    try:
        yield
    finally:
        lock.release()


def _slow(error: StoreBusy | None = None) -> StoreSlow:
    bound = _bound.get()
    seconds = bound.seconds if bound else 0.0
    why = f" ({error})" if error else ""
    return StoreSlow(f"the store took longer than {seconds:g} s, and was told to stop{why}")
