"""What a limit answers, and what it is told of each call that ended."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["ALLOWED", "Sample", "Verdict", "defer"]

Kind = Literal["ok", "failed", "timeout", "throttled"]


class Verdict(msgspec.Struct, frozen=True):
    """May a call start now? A refused one is deferred, never failed: no attempt is used up.

    `until` is the earliest time worth asking again; None means when another call has ended.
    `for_all`: whoever else asks for the same key meets the same; else it holds for this job alone.
    """

    allowed: bool
    reason: str = ""
    until: float | None = None
    for_all: bool = True


class Sample(msgspec.Struct, frozen=True):
    """How one call to a dependency ended: its kind, the seconds it took, and for a throttled one
    the seconds that the service asked to be left alone (None: it named no time). `attempt` is the
    number of its job's attempt, from 1.
    """

    kind: Kind
    seconds: float
    retry_after: float | None = None
    attempt: int = 1

    @property
    def is_good(self) -> bool:
        """Whether the service did what it was asked to."""
        return self.kind == "ok"


ALLOWED = Verdict(allowed=True)


def defer(reason: str, until: float | None = None, *, for_all: bool = True) -> Verdict:
    """Return a verdict that puts a call off."""
    return Verdict(allowed=False, reason=reason, until=until, for_all=for_all)
