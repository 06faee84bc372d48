"""What Turnout keeps in a payload under `turnout`: the part of it that Sidekiq has no word for."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from turnout.job import State, Trail

encode = msgspec.json.encode
decode_trail = msgspec.json.Decoder(Trail).decode
_MILLISECONDS = 100_000_000_000  # Sidekiq 8 writes integers of milliseconds, others float seconds


_NO_TIME = 0.0  # this very object: msgspec omits a float that is the default, not one equal to it


class End(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How a job ended."""

    state: State
    started_at: float | None
    finished_at: float
    worker: str | None
    error: str | None
    reason: str | None
    result: str | None
    keep_until: float | None = None


class Own(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """Our part of a payload.

    In a job of ours it has `run_at` and `queue`, always. In another program's it is there only once
    there is something to remember, without these two; `foreign` is told apart by that and never
    written.
    """

    run_at: float = _NO_TIME
    priority: int = 0
    queue: str = ""
    attempt: int = 0
    crashes: int = 0
    expires_at: float | None = None
    context: str | None = None
    trail: str | None = None
    unique: tuple[str, str] | None = None  # key, until
    end: End | None = None
    foreign: bool = False


def without_head(own: Own) -> Own:
    """Return it without what stands in front of a payload of ours."""
    return replace(own, run_at=_NO_TIME, priority=0, queue="", foreign=False)


def seconds(time: float | None) -> float | None:
    """Return a time in seconds, whichever way Sidekiq wrote it."""
    if time is None:
        return None
    return time / 1000 if time > _MILLISECONDS else time
