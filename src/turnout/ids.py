"""Job ids: UUIDv7 as text, made by whoever enqueues.

    48 bits  unix milliseconds     4 bits  version 7     2 bits  variant
    74 bits  random at each new millisecond; within one, the last value plus a random step

Invariant: within one process every id is larger than the one before, across threads and when the
clock steps back; a forked child starts anew with randomness of its own.
"""

from __future__ import annotations

import os
import re
import threading
import time
from random import Random

from turnout.errors import ConfigError
from turnout.job import JobId

__all__ = ["check_id", "id_time", "new_id"]

_RANDOM_BITS = 74
_TOP = 1 << _RANDOM_BITS
_LOW_BITS = 62  # below the variant
_LOW = (1 << _LOW_BITS) - 1
_HEAD, _TAIL = "%08x-%04x-7%03x-", "%04x-%012x"  # by %: two thirds of an f-string's time
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


class _Source:
    """The last id given out, and where the next one's randomness comes from."""

    __slots__ = ("head", "last", "lock", "random")

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Forget everything: after a fork the parent has it too, and maybe held the lock."""
        self.lock = threading.Lock()
        self.random = Random(os.urandom(32))
        self.last = 0
        self.head: tuple[int, str] = (0, "")  # what the last ids began with: its bits, its text


_source = _Source()
os.register_at_fork(after_in_child=_source.renew)


def new_id() -> JobId:
    """Return a new id, larger than every id this process has made before."""
    source = _source
    fresh = (time.time_ns() // 1_000_000) * _TOP
    with source.lock:
        if fresh > source.last:
            # The top bit stays clear: room for some 500 million steps before a carry.
            value = fresh + source.random.getrandbits(_RANDOM_BITS - 1)
        else:
            value = source.last + 1 + source.random.getrandbits(44)
        # `last` always ends up in or after the millisecond it was made in, so `fresh` of the
        # same millisecond is never larger than it.
        source.last = value
    high, low = value >> _LOW_BITS, value & _LOW
    known, head = source.head
    if known != high:  # most ids of a burst share their head
        head = _HEAD % (high >> 28, (high >> 12) & 0xFFFF, high & 0xFFF)
        source.head = high, head
    return JobId(head + _TAIL % (0x8000 | (low >> 48), low & 0xFFFFFFFFFFFF))


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
