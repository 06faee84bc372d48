"""Limits by count: concurrency and rates, each a way to ask the store for marks.

    concurrency(n)                 at most n at once
    rate(n, per, shape="bucket")   n per `per` on average, up to `burst` of them at once
    rate(n, per, shape="window")   at most n in any `per` seconds, whenever these begin
    rate(n, per, shape="leaky")    one every per/n seconds, never two together

Invariant: a declaration that exists is sound; the makers refuse with every fault at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Literal, get_args

import msgspec
from msgspec.structs import replace

from turnout.limits.faults import (
    key_faults,
    number_faults,
    refuse,
    whole_faults,
)
from turnout.limits.marks import Mark, Marked
from turnout.limits.verdict import ALLOWED, Verdict, defer

__all__ = ["Limit", "check_across", "check_together", "concurrency", "rate", "verdict"]

OnConflict = Literal["wait", "discard", "replace"]
By = str | Callable[..., Any] | None
Shape = Literal["bucket", "window", "leaky"]
LEASE = 30.0  # seconds for which a holder that says nothing more keeps its slot


class Limit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A ceiling under a key. Make one by `concurrency` or `rate`.

    `held`: the mark is renewed while the job runs and given back at its end; otherwise it stays
    until it expires. `on_conflict` says what becomes of a job that finds no room.
    """

    kind: Literal["concurrency", "bucket", "window", "leaky"]
    key: str
    most: int
    ttl: float
    chained: bool
    held: bool
    on_conflict: OnConflict = "wait"
    by: Any = None  # an argument's name, or a function of the arguments; None: one key for all

    @property
    def name(self) -> str:
        """The key as the store knows it."""
        return f"{self.kind}:{self.key}"

    @property
    def per_start(self) -> float | None:
        """Seconds between two starts on average; None for a limit of concurrency."""
        if self.held:
            return None
        return self.ttl if self.chained else self.ttl / self.most

    def mark(self, owner: str) -> Mark:
        """Return what to ask of the store so that `owner` may start."""
        return Mark(
            key=self.name,
            owner=owner,
            ttl=self.ttl,
            most=self.most,
            chained=self.chained,
        )


def concurrency(
    key: str,
    most: int,
    *,
    by: By = None,
    on_conflict: OnConflict = "wait",
    lease: float | timedelta = LEASE,
) -> Limit:
    """Let at most `most` jobs with this key run at once.

    `by` names an argument of the task, or is a function of its arguments: each value then has a
    ceiling of its own. A job that finds no room waits its turn, is discarded, or replaces the one
    that waits. `lease` is how long a slot stays taken after its holder died. Raises ConfigError.
    """
    seconds = _plain(lease)
    faults = key_faults(key) + whole_faults("most", most, 1) + number_faults("lease", seconds)
    faults += _by_faults(by)
    if on_conflict not in get_args(OnConflict):
        faults.append(f"on_conflict is wait, discard or replace, got {on_conflict!r:.80}")
    refuse(f"concurrency({key!r:.80})", faults)
    return Limit(
        kind="concurrency",
        key=key,
        most=most,
        ttl=seconds,
        chained=False,
        held=True,
        on_conflict=on_conflict,
        by=by,
    )


def rate(
    key: str,
    most: int,
    *,
    per: float | timedelta,
    by: By = None,
    burst: int | None = None,
    shape: Shape = "bucket",
) -> Limit:
    """Let `most` jobs with this key start in `per` seconds; `by` as for `concurrency`.

    `burst` is the size of a bucket and only a bucket has it; the default is `most`. Raises
    ConfigError.
    """
    seconds = _plain(per)
    faults = key_faults(key) + whole_faults("most", most, 1) + number_faults("per", seconds)
    faults += _by_faults(by)
    if shape not in get_args(Shape):
        faults.append(f"shape is bucket, window or leaky, got {shape!r:.80}")
    elif burst is not None and shape != "bucket":
        faults.append(f"burst is the size of a bucket; a {shape} has none: leave it out")
    elif burst is not None:
        faults += whole_faults("burst", burst, 1)
    refuse(f"rate({key!r:.80})", faults)
    size = {"bucket": burst or most, "window": most, "leaky": 1}[shape]
    ttl = seconds if shape == "window" else seconds / most
    return Limit(
        kind=shape, key=key, most=size, ttl=ttl, chained=shape != "window", held=False, by=by
    )


def verdict(limit: Limit, answer: Marked) -> Verdict:
    """Return what the store's answer means for a job that asked under `limit`."""
    if answer.granted:
        return ALLOWED
    return defer(f"{limit.kind} limit of {limit.key} is full ({limit.most:,})", answer.until)


def check_together(limits: Sequence[Any]) -> tuple[Limit, ...]:
    """Return the limits of one task; raise ConfigError with every contradiction among them."""
    faults: list[str] = []
    first: dict[tuple[str, str], Limit] = {}
    for limit in limits:
        if not isinstance(limit, Limit):
            faults.append(f"takes concurrency(...) and rate(...), got {limit!r:.80}")
            continue
        known = first.setdefault((limit.kind, limit.key), limit)
        if known is not limit:
            faults.append(_clash(known, limit))
    refuse("limits", faults)
    return tuple(limits)


def check_across(limits: Sequence[Limit], known: Sequence[Limit]) -> None:
    """Raise ConfigError when two tasks share a key and say different things of it."""
    first = {limit.name: limit for limit in known}
    faults = [
        _clash(first[limit.name], limit)
        for limit in limits
        if limit.name in first and replace(first[limit.name], by=None) != replace(limit, by=None)
    ]
    refuse("limits", faults)


def _by_faults(by: Any) -> list[str]:
    if by is None or callable(by) or (isinstance(by, str) and by):
        return []
    return [f"by is an argument's name or a function of the arguments, got {by!r:.80}"]


def _clash(one: Limit, other: Limit) -> str:
    name = f"{one.kind} under {one.key!r}"
    if one == other:
        return f"{name} stands there twice; once is enough"
    return f"{name} is both {_told(one)} and {_told(other)}: give them keys of their own, or one"


def _told(limit: Limit) -> str:
    if limit.held:
        return f"{limit.most:,} ({limit.on_conflict})"
    return f"{limit.most:,} by {limit.ttl:g} s"


def _plain(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value
