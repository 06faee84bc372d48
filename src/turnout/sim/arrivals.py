"""When jobs arrive: the times of one simulated day, drawn beforehand.

Invariant: the same seed gives the same times to every contender.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from random import Random

from turnout.sim.scenario import Arrivals

__all__ = ["arrival_times"]


def arrival_times(spec: Arrivals, duration: float, rng: Random) -> Iterator[float]:
    """Yield the times of arrivals before `duration`, in order."""
    match spec.shape:
        case "even":
            return _even(spec.rate, duration)
        case "burst":
            return heapq.merge(_poisson(spec.rate, duration, rng), _bursts(spec, duration))
        case "daily":
            return _daily(spec, duration, rng)
        case _:
            return _poisson(spec.rate, duration, rng)


def _even(rate: float, duration: float) -> Iterator[float]:
    number = 1
    while number / rate < duration:
        yield number / rate
        number += 1


def _poisson(rate: float, duration: float, rng: Random) -> Iterator[float]:
    now = rng.expovariate(rate)
    while now < duration:
        yield now
        now += rng.expovariate(rate)


def _bursts(spec: Arrivals, duration: float) -> Iterator[float]:
    number = 1
    while number * spec.every < duration:
        yield from [number * spec.every] * spec.size
        number += 1


def _daily(spec: Arrivals, duration: float, rng: Random) -> Iterator[float]:
    # Thinning: as many as at the peak, of which each stays with the share that its hour has.
    for now in _poisson(spec.rate * spec.peak, duration, rng):
        swing = -math.cos(2 * math.pi * now / spec.period)
        if rng.random() < spec.peak ** (swing - 1):
            yield now
