"""What follows when a process dies under a job: (crashes, policy) -> verdict.

      on_crash      first and second crash       third crash (POISON)
      rerun         back to its queue, at once   dead
      dead          dead                         -
      discard       discarded                    -

A crash is no attempt: it burns no retry, and no rule of the task is asked. The policy travels with
the worker (`WorkerInfo.on_crash`), which knows its tasks: whoever reaps needs no task's code.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from turnout.job import AttemptRecord, LeasedJob, Outcome, State

POISON = 3  # a job whose process died under it this often is dead
OnCrash = Literal["rerun", "dead", "discard"]
MAX_TAIL = 4_000  # characters of what a process wrote last

_ENDS: dict[str, State] = {"dead": State.DEAD, "discard": State.DISCARDED}


class Evidence(msgspec.Struct, frozen=True):
    """What is known of a process that died: how, its peak memory in bytes, what it wrote last."""

    how: str = ""  # "signal SIGSEGV", "exit code 3"
    memory: int | None = None
    tail: str | None = None

    @property
    def words(self) -> str:
        """How it died, in one line."""
        if self.memory is None:
            return self.how
        return f"{self.how}, {self.memory / 2**20:,.0f} MB at its peak"


NOTHING = Evidence()


class _Policies(msgspec.Struct):
    on_crash: dict[str, str] = {}


_decode_policies = msgspec.json.Decoder(_Policies).decode


def policies_of(info: str | bytes | None) -> dict[str, str]:
    """Return the policies that a worker declared, from its `WorkerInfo` as JSON; {} without one."""
    try:
        return _decode_policies(info or "{}").on_crash
    except msgspec.DecodeError:
        return {}


def after_crash(crashes: int, on_crash: str | None = None) -> tuple[State, str | None]:
    """Return where a job goes whose process died under it, for the `crashes`th time, and why."""
    if on_crash in _ENDS:
        return _ENDS[on_crash], f"its worker died under it, and on_crash is {on_crash!r}"
    if crashes >= POISON:
        return State.DEAD, f"its worker died under it {crashes} times"
    return State.QUEUED, None


def crash_entry(
    attempt: int,
    span: tuple[float, float],
    worker: str,
    evidence: Evidence | None = None,
) -> AttemptRecord:
    """Return the history entry of a crash in run number `attempt`, from one moment to another."""
    known = evidence or NOTHING
    said = f": {known.words}" if known.words else ""
    return AttemptRecord(
        attempt=attempt,
        started_at=span[0],
        finished_at=span[1],
        worker=worker,
        outcome="crashed",
        message=f"the worker died while running this job{said}",
        traceback=known.tail[-MAX_TAIL:] if known.tail else None,
    )


def crashed(
    job: LeasedJob, entry: AttemptRecord, trail: str, on_crash: str | None = None
) -> Outcome:
    """Return the outcome of a run that its own process did not survive, while the worker did."""
    crashes = job.crashes + 1
    state, reason = after_crash(crashes, on_crash)
    return Outcome(
        job=job,
        state=state,
        started_at=entry.started_at,
        finished_at=entry.finished_at,
        attempt=job.attempt,
        trail=trail,
        reason=reason,
        crashes=crashes,
    )
