"""What a job itself says of its retries: another system's payload brings limits of its own.

The task's rules decide first, then its job's terms narrow that: a retry may become an end, and an
end in the dead set one without it. Never the other way round, so the stricter of the two holds.
"""

from __future__ import annotations

import msgspec

from turnout.retry import Decision

__all__ = ["Terms"]


class Terms(msgspec.Struct, frozen=True):
    """Limits that travel with one job. Times and durations in seconds."""

    attempts: int | None = None  # all runs, the first included
    retry_for: float | None = None  # no retry later than this after the first failure
    failed_at: float | None = None  # the first failure; None: there was none yet
    bury: bool = True  # False: what is given up is discarded, not kept among the dead

    def narrow(self, decision: Decision, attempt: int, now: float) -> Decision:
        """Return what follows attempt number `attempt`, failed at `now`, under these terms."""
        replace = msgspec.structs.replace
        if decision.kind == "retry" and (why := self._forbids(attempt, now)):
            decision = replace(decision, kind="dead", run_at=None, reason=why)
        if decision.kind == "dead" and not self.bury:
            reason = f"{decision.reason}; it asks not to be kept among the dead"
            decision = replace(decision, kind="discard", reason=reason)
        return decision

    def _forbids(self, attempt: int, now: float) -> str | None:
        """Say why there is no further attempt; None when there may be one."""
        if self.attempts is not None and attempt >= self.attempts:
            return f"attempt {attempt}: the job itself allows {self.attempts}"
        if self.retry_for is not None and now > (self.failed_at or now) + self.retry_for:
            return f"attempt {attempt}: the job itself allows retries for {self.retry_for:g} s"
        return None
