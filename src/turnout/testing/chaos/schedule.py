"""Draws a plan of faults from a seed. Pure: the same seed and weights give the same plan."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


class Planned(msgspec.Struct, frozen=True):
    """One fault to come. `victim` from 0 to 1 points into whatever stands to choose from then."""

    at: float  # seconds after the beginning
    kind: str
    seconds: float  # how long it lasts, where it can
    victim: float


def draw(
    seed: int,
    minutes: float,
    weights: Mapping[str, float],
    *,
    every: tuple[float, float] = (0.5, 3.0),
    longest: float = 4.0,
) -> list[Planned]:
    """Return faults for that many minutes, parted by `every` (least, most) seconds.

    Each kind comes once before chance decides, so that a short run too has some of each.
    """
    rng = random.Random(seed)
    kinds = sorted(kind for kind, weight in weights.items() if weight > 0)
    first = [*kinds]
    rng.shuffle(first)
    plan: list[Planned] = []
    at = rng.uniform(*every)
    while at < minutes * 60 and kinds:
        kind = first.pop() if first else rng.choices(kinds, [weights[kind] for kind in kinds])[0]
        plan.append(Planned(at, kind, rng.uniform(0.2, 1.0) * longest, rng.random()))
        at += rng.uniform(*every)
    return plan
