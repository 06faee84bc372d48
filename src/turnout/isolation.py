"""What `@jobs.task(isolate=...)` says: whether a task runs in a child process, and how bounded.

Invariant: a `Isolate` that exists is valid; sizes are in bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from turnout.errors import ConfigError

__all__ = ["Isolate", "as_bytes"]

LEAST_MEMORY = 16 * 2**20
MOST_MEMORY = 2**46
DEFAULT_REUSE = 1_000

_SIZE = re.compile(r"(\d+(?:\.\d+)?) *([KMGT]?)i?B?", re.IGNORECASE)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True, slots=True, init=False)
class Isolate:
    """Run a task in a child process.

    `memory` is what that process may allocate, the application's own share included: bytes, or
    text such as "512MB"; None for no bound. `reuse` is how many jobs a child runs before a fresh
    one takes its place; 1 gives each job a process of its own. Raises ConfigError.
    """

    memory: int | None
    reuse: int

    def __init__(self, memory: int | str | None = None, *, reuse: int = DEFAULT_REUSE) -> None:
        size = None if memory is None else as_bytes(memory, "Isolate(memory=)")
        if isinstance(reuse, bool) or not isinstance(reuse, int) or reuse < 1:
            msg = f"Isolate(reuse=) takes a whole number of jobs, 1 or more, got {reuse!r}"
            raise ConfigError(msg)
        object.__setattr__(self, "memory", size)
        object.__setattr__(self, "reuse", reuse)


def as_bytes(size: int | str, name: str) -> int:
    """Return a size in bytes; raise ConfigError unless it is a whole number of them, or text such
    as "512MB" or "1.5 GiB" (either way powers of 1,024), from 16 MB to 64 TB.
    """
    found = size if isinstance(size, int) and not isinstance(size, bool) else _read(size)
    if found is None:
        msg = f"{name} takes bytes or text such as '512MB', got {size!r:.80}"
        raise ConfigError(msg)
    if not LEAST_MEMORY <= found <= MOST_MEMORY:
        msg = f"{name} takes 16MB (an interpreter alone needs it) to 64TB, got {size!r}"
        raise ConfigError(msg)
    return found


def _read(text: Any) -> int | None:
    match = _SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
    return int(float(match[1]) * _UNITS[match[2].upper()]) if match else None


def as_isolate(given: Any, memory: int | str | None) -> Isolate | None:
    """Return what `isolate=` and `memory=` say together; raise ConfigError for what cannot be."""
    if isinstance(given, Isolate):
        if memory is not None and given.memory is not None:
            msg = "memory= and isolate=Isolate(memory=) say the same thing twice: give one of them"
            raise ConfigError(msg)
        return given if memory is None else Isolate(memory, reuse=given.reuse)
    if not isinstance(given, bool):
        msg = f"isolate= is True, False or Isolate(memory=..., reuse=...), got {given!r:.80}"
        raise ConfigError(msg)
    if given:
        return Isolate(memory)
    if memory is not None:
        msg = "memory= bounds a process, not a thread: add isolate=True"
        raise ConfigError(msg)
    return None
