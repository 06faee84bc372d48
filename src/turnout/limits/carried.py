"""What a job carries of its limits, so that a worker needs no task to know them.

It travels in the job's context, the JSON object that every store keeps with a job, as the member
`turnout:limits`. So no store has a column for it, and a job without limits is not a byte longer.

Invariant: what `carried_by` returns has keys, and no `by` any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from turnout.by import By
from turnout.errors import ArgumentError
from turnout.limits.faults import key_faults
from turnout.limits.shapes import Limit

__all__ = ["NAME", "Carried", "Carries", "carried_by"]

NAME = "turnout:limits"


class Carried(msgspec.Struct, frozen=True, omit_defaults=True):
    """The limits of one job, and the dependency that it calls."""

    limits: tuple[Limit, ...] = ()
    dependency: str | None = None


class _Context(msgspec.Struct, frozen=True):
    carried: Carried | None = msgspec.field(name=NAME, default=None)


_decode = msgspec.json.Decoder(_Context).decode
_encode = msgspec.json.encode


def carried_by(context: str) -> Carried | None:
    """Return what a job's context carries; None for nothing, and for what cannot be read."""
    if NAME not in context:
        return None
    try:
        return _decode(context).carried
    except msgspec.DecodeError:  # by a newer Turnout, or damaged: better run than lost
        return None


class Carries:
    """What the jobs of one task carry; `fn` is the task's function, whose arguments are known."""

    def __init__(
        self, fn: Callable[..., Any], limits: tuple[Limit, ...], dependency: str | None
    ) -> None:
        self.limits = limits
        self.dependency = dependency
        self._by = [
            None if limit.by is None else By(fn, limit.by, f"limit {limit.key!r} goes by")
            for limit in limits
        ]
        self._constant = None if any(self._by) else _member(Carried(limits, dependency))

    def into(self, context: str | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return a job's context with its limits. Raises ArgumentError for a key that is none."""
        member = self._constant
        if member is None:
            pairs = zip(self.limits, self._by, strict=True)
            limits = tuple(_keyed(limit, by, args, kwargs) for limit, by in pairs)
            member = _member(Carried(limits, self.dependency))
        if context is None or context == "{}":
            return "{" + member + "}"
        return context[:-1] + "," + member + "}"


def _keyed(limit: Limit, by: By | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Limit:
    if by is None:
        return limit
    key = f"{limit.key}:{by.value(args, kwargs)}"
    faults = key_faults(key)
    if faults:
        msg = f"limit {limit.key!r} by {limit.by!r:.80}: {faults[0]}"
        raise ArgumentError(msg)
    return msgspec.structs.replace(limit, key=key, by=None)


def _member(carried: Carried) -> str:
    return f'"{NAME}":{_encode(carried).decode()}'
