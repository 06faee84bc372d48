"""Fences made by the client: an exchange whose reply was lost can ask for its lease again."""

from __future__ import annotations

import random
import time


def new_fence() -> int:
    """Return a number that no other exchange uses: microseconds, then chance."""
    return (time.time_ns() // 1000 << 11 | random.getrandbits(11)) & (2**63 - 1)
