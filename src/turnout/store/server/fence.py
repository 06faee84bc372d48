"""Fences made by the client: an exchange whose reply was lost can ask for its lease again.

The invariant: a lease that the server may have given out is asked for under its fence until jobs
come, or its epoch ends. Nobody else could ever run what it holds.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def new_fence() -> int:
    """Return a number that no other exchange uses: microseconds, then chance."""
    return (time.time_ns() // 1000 << 11 | random.getrandbits(11)) & (2**63 - 1)


class Doubts:
    """The fences of one process whose leases may be out without its knowing, by epoch."""

    def __init__(self) -> None:
        self._fences: dict[str, int] = {}

    def fence(self, epoch: str) -> int:
        """Return the fence to ask under: the one in doubt, or a new one."""
        return self._fences.get(epoch) or new_fence()

    @contextmanager
    def kept(self, epoch: str, fence: int | None) -> Iterator[None]:
        """Keep a fence if asking under it fails; None: nothing was asked for."""
        try:
            yield
        except BaseException:
            if fence is not None:
                self._fences[epoch] = fence
            raise

    def forget(self, epoch: str) -> None:
        """Jobs came, or the epoch is over.

        An empty answer is no reason: what failed may still be on its way to the server.
        """
        self._fences.pop(epoch, None)
