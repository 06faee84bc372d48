"""Job ids: UUIDv7 as text, made by whoever enqueues.

    48 bits  unix milliseconds     4 bits  version 7     2 bits  variant
    12 bits  random at each new millisecond
    62 bits  random at each new millisecond; within one, the last value plus a random step

Invariant: within one process every id is larger than the one before, across threads and when the
clock steps back; a forked child starts anew with randomness of its own.
"""

from __future__ import annotations

import os
import re
import threading
import time
from random import Random
from typing import Any

from turnout.errors import ConfigError
from turnout.job import JobId

__all__ = ["check_id", "id_time", "new_id"]

_LOW_BITS = 62  # below the variant
_LOW = (1 << _LOW_BITS) - 1
_HEAD = "%08x-%04x-7%03x-"
_VARIANT = 2 << _LOW_BITS
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


class _Source:
    """What the last id was made of, and where the next one's randomness comes from."""

    __slots__ = ("head", "lock", "low", "ms", "random")

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Forget everything: after a fork the parent has it too, and maybe held the lock."""
        self.lock = threading.Lock()
        self.random = Random(os.urandom(32))
        self.ms = 0
        self.head = ""  # what the ids of this millisecond begin with
        self.low = _LOW

    def begin(self, ms: int) -> int:
        """Begin a millisecond: a random head, and a random low part to count up from."""
        self.ms = ms
        self.head = _HEAD % (ms >> 16, ms & 0xFFFF, self.random.getrandbits(12))
        # The top bit stays clear: room for some 260,000 steps before the next one must begin.
        return self.random.getrandbits(_LOW_BITS - 1)


_source = _Source()
os.register_at_fork(after_in_child=_source.renew)


def new_id() -> JobId:
    """Return a new id, larger than every id this process has made before."""
    source = _source
    ms = time.time_ns() // 1_000_000
    with source.lock:
        if ms > source.ms:
            low = source.begin(ms)
        else:
            low = source.low + 1 + source.random.getrandbits(44)
            if low > _LOW:
                low = source.begin(source.ms + 1)
        source.low = low
        tail = hex(_VARIANT | low)  # cut up: two thirds of the time of writing two numbers
        made: Any = f"{source.head}{tail[2:6]}-{tail[6:]}"
    return made  # type: ignore[no-any-return]


def id_time(job_id: str) -> float:
    """Return when an id was made, in seconds since the epoch, to the millisecond.

    Raises ConfigError for what is no UUIDv7.
    """
    text = check_id(job_id)
    if text[14] != "7":
        msg = f"only ids of version 7 carry their time, got {text}"
        raise ConfigError(msg)
    return int(text[:8] + text[9:13], 16) / 1000


def check_id(text: str) -> JobId:
    """Return a job id in its canonical lower case; raise ConfigError for what is no UUID."""
    given: object = text
    canonical = given.strip().lower() if isinstance(given, str) else ""
    if not _UUID.fullmatch(canonical):
        msg = (
            "a job id is a UUID of 36 characters such as "
            f"0190a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2b, got {ascii(text)[:80]}"
        )
        raise ConfigError(msg)
    return JobId(canonical)
