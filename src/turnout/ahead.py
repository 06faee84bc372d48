"""Doing and reading at the same time: what bulk enqueues overlap."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

S = TypeVar("S")
T = TypeVar("T")

# Until a thousand jobs are on their way to a server. Without it this thread would keep the
# interpreter for 5 ms, nothing would be sent in that time, and nothing would overlap.
_HEAD_START = 0.001


def one_ahead(items: Iterable[S], work: Callable[[S], T]) -> Iterator[tuple[S, T]]:
    """Yield each item with what `work` made of it; meanwhile the next item is read.

    One call of `work` at a time, in another thread and in the order of the items. One that raises
    ends it: what was read ahead is not worked on.
    """
    from concurrent.futures import Future, ThreadPoolExecutor  # who enqueues singly needs none

    pending: tuple[S, Future[T]] | None = None
    with ThreadPoolExecutor(1, "turnout-enqueue") as pool:
        for item in items:
            if pending is not None:
                yield pending[0], pending[1].result()
            pending = item, pool.submit(work, item)
            time.sleep(_HEAD_START)
        if pending is not None:
            yield pending[0], pending[1].result()
