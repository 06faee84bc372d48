"""How limits and dependencies stand: what the store says of their marks and shared states.

The invariant: looking takes no slot, starts no call and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from turnout.errors import CENTURY

if TYPE_CHECKING:
    from turnout.app import Turnout
    from turnout.limits.breaker import BreakerState
    from turnout.limits.carried import Carried
    from turnout.limits.marks import Marked
    from turnout.limits.shapes import Limit
    from turnout.shared import Watched


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One limit: `live` of `most` are taken; None where nobody could be asked.

    `by` says what a limit is split by that has a key for each value; its `live` is None too.
    """

    kind: str
    key: str
    most: int
    live: int | None = None
    by: str | None = None
    tasks: list[str] = []


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """One dependency: the phase of its breaker, and `calls` under way of `most` at once."""

    name: str
    phase: str
    calls: int
    most: int
    since: float | None = None
    until: float | None = None  # of an open breaker that time will close
    tasks: list[str] = []


def limits(app: Turnout) -> list[Standing]:
    """Return how the limits stand that tasks declare, by key. Raises StoreError."""
    known: dict[str, tuple[Limit, list[str]]] = {}
    for task in app.tasks.values():
        for limit in task.options.limits:
            known.setdefault(limit.name, (limit, []))[1].append(task.name)
    whole = {name: limit for name, (limit, _) in known.items() if limit.by is None}
    looks = [msgspec.structs.replace(limit.mark("nobody"), most=0) for limit in whole.values()]
    # One by one: of marks in a row that one owner asks for, a full one refuses all.
    told = [app.store.mark([look])[0] for look in looks]
    answers = dict(zip(whole, told, strict=True))
    return [
        Standing(
            kind=limit.kind,
            key=limit.key,
            most=limit.most,
            live=_live(answers.get(name)),
            by=_by(limit),
            tasks=sorted(tasks),
        )
        for name, (limit, tasks) in sorted(known.items(), key=lambda one: one[1][0].key)
    ]


def in_the_way(app: Turnout, carried: Carried) -> tuple[list[Standing], Condition | None]:
    """Return how the limits of one job stand, in its order, and its dependency if declared here.

    Raises StoreError.
    """
    found = [
        Standing(
            kind=limit.kind,
            key=limit.key,
            most=limit.most,
            live=_live(app.store.mark([msgspec.structs.replace(limit.mark("nobody"), most=0)])[0]),
        )
        for limit in carried.limits
    ]
    one = watched(app).get(carried.dependency or "")
    return found, None if one is None else _condition(one, [])


def _live(answer: Marked | None) -> int | None:
    return None if answer is None or answer.away else answer.live


def _by(limit: Limit) -> str | None:
    if limit.by is None or isinstance(limit.by, str):
        return limit.by
    return "function"


def dependencies(app: Turnout) -> list[Condition]:
    """Return how the dependencies stand that are declared or that tasks name. Raises StoreError."""
    users: dict[str, list[str]] = {}
    for task in app.tasks.values():
        if task.options.dependency is not None:
            users.setdefault(task.options.dependency, []).append(task.name)
    return [_condition(one, sorted(users.get(one.rule.key, ()))) for one in app.dependencies()]


def watched(app: Turnout) -> dict[str, Watched]:
    """Return the application's dependencies by name."""
    return {one.rule.key: one for one in app.dependencies()}


def phase(one: Watched) -> str:
    """Return the phase of a dependency's breaker as it is now. Raises StoreError."""
    return _phase(one.look().breaker)


def _phase(breaker: BreakerState | None) -> str:
    return "no breaker" if breaker is None else breaker.phase


def _condition(one: Watched, tasks: list[str]) -> Condition:
    state = one.look()
    breaker = state.breaker
    return Condition(
        name=one.rule.key,
        phase=_phase(breaker),
        calls=state.in_flight,
        most=one.slot().most,
        since=None if breaker is None else breaker.since or None,
        until=_reopens(breaker),
        tasks=tasks,
    )


def _reopens(breaker: BreakerState | None) -> float | None:
    """Return when an open breaker lets calls through again by itself; never if opened by hand."""
    if breaker is None or breaker.phase != "open" or breaker.until - breaker.since >= CENTURY / 2:
        return None
    return breaker.until
