"""Jobs that another program wrote, Sidekiq above all: read as it means them, written as it reads.

Such a payload keeps the form it came in: its members stay where they are, byte by byte. What we
must remember of it (a history, a crash) is appended as one more member, `turnout`, which Ruby
carries along. It never gets a place in our order: that would put it where Ruby does not look.

Active Job's jobs come in a wrapper: the class is `wrapped`, the arguments stand within `args[0]`,
in the form that activejob.py reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, field
from msgspec.structs import replace

from turnout.activejob import WRAPPERS, wrapped_arguments
from turnout.job import AttemptRecord, Trail
from turnout.store.redis.own import Own, decode_trail, encode, seconds, without_head
from turnout.terms import Terms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from turnout.job import NewJob

_members = msgspec.json.Decoder(dict[str, Raw]).decode


class Foreign(msgspec.Struct, kw_only=True):
    """The members of another's payload that mean something to us."""

    jid: str
    name: str = field(name="class", default="")
    wrapped: str | None = None
    queue: str = "default"
    args: Raw = Raw(b"[]")
    retry: Any = True
    retry_for: Any = None
    dead: Any = True
    created_at: float | None = None
    enqueued_at: float | None = None
    retry_count: int | None = None
    failed_at: float | None = None
    retried_at: float | None = None
    error_class: str | None = None
    error_message: str | None = None
    turnout: Own | None = None

    @property
    def since(self) -> float:
        """When it came to its queue, or else was made, in seconds."""
        return seconds(self.enqueued_at) or seconds(self.created_at) or 0.0

    @property
    def attempt(self) -> int:
        """Attempts counted so far, by Ruby or by us."""
        counted = 0 if self.retry_count is None else self.retry_count + 1
        return counted if self.turnout is None else max(counted, self.turnout.attempt)

    def own(self) -> Own:
        """Return our part of it, with what its own members tell."""
        kept = self.turnout or Own()
        return replace(
            kept,
            run_at=self.since,
            queue=self.queue,
            attempt=self.attempt,
            trail=self._trail(kept),
            foreign=True,
        )

    def _trail(self, kept: Own) -> str | None:
        """Return its history with what failed in Ruby: of that, the last failure is known."""
        trail = decode_trail(kept.trail) if kept.trail else Trail()
        known = sum(trail.counts.values())
        failed = 0 if self.retry_count is None else self.retry_count + 1
        if failed <= known:
            return kept.trail
        at = seconds(self.retried_at) or seconds(self.failed_at) or self.since
        entry = AttemptRecord(
            attempt=failed,
            started_at=at,
            finished_at=at,
            worker="",
            outcome="retried",
            error=self.error_class,
            message=self.error_message,
        )
        counts = {**trail.counts, "default": trail.counts.get("default", 0) + failed - known}
        return encode(Trail((*trail.attempts, entry), counts)).decode()

    def terms(self) -> Terms | None:
        """Return what it says of its own retries; None when it says nothing unusual."""
        limit: int | None = None
        if self.retry is False:
            limit = 1
        elif isinstance(self.retry, int) and self.retry is not True:
            limit = max(self.retry, 0) + 1
        span = self.retry_for if type(self.retry_for) in {int, float} else None
        found = Terms(
            attempts=limit,
            retry_for=span,
            failed_at=seconds(self.failed_at),
            bury=self.dead is not False and self.retry is not False,
        )
        return None if found == Terms(failed_at=found.failed_at) else found


_decode = msgspec.json.Decoder(Foreign).decode


def read_foreign(text: bytes) -> tuple[Foreign, str, str]:
    """Return a payload, the task that it names, and its arguments as a task's signature reads them.

    Raises msgspec.DecodeError for what is no payload.
    """
    found = _decode(text)
    args = bytes(found.args)
    if found.name in WRAPPERS:
        name, args = wrapped_arguments(args)
        return found, found.wrapped or name or found.name, args.decode()
    return found, found.name, args.decode()


def pushed(job: NewJob, members: Mapping[str, Any]) -> tuple[str, str | bool, str]:
    """Return what the script `push` is told of a job for Ruby: queue, time, payload's beginning."""
    named = {"class": job.task, **members, "queue": job.queue, "jid": job.id}
    front = encode({**named, "args": Raw(job.args.encode())}).decode()
    run_at = False if job.run_at is None else repr(float(job.run_at))
    return job.queue, run_at, f'{front[:-1]},"created_at":'


def foreign_rewritten(text: bytes, own: Own, members: dict[str, Any]) -> bytes:
    """Return the payload with some members set, or removed where None, and ours at the end."""
    kept = _members(text)
    kept.pop("turnout", None)
    for name, value in members.items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = Raw(encode(value))
    ours = without_head(own)
    if ours != Own():
        kept["turnout"] = Raw(encode(ours))
    return encode(kept)
