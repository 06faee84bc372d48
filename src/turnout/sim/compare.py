"""Runs every contender through every seed and sums up, in several processes where it can.

Invariant: the answer does not depend on how many processes there are.
"""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product

from turnout.sim.engine import simulate
from turnout.sim.measure import Run, Summary, summarize
from turnout.sim.scenario import Contender, Scenario

__all__ = ["compare"]

_FEW = 8  # runs that are over before another process has started


def compare(
    scenario: Scenario, *, processes: int = 1, tell: Callable[[int, int], None] | None = None
) -> list[Summary]:
    """Return a summary for each contender, in the scenario's order.

    `tell(done, all)` is called after each run. A contender with functions of its own (a custom
    wait, `then=`) may not travel to another process: then all run in this one.
    """
    plans = list(product(range(len(scenario.contenders)), range(scenario.seeds)))
    done: list[list[Run]] = [[] for _ in scenario.contenders]
    runs = _results(scenario, plans, processes)
    for number, ((contender, _), run) in enumerate(zip(plans, runs, strict=True), 1):
        done[contender].append(run)
        if tell is not None:
            tell(number, len(plans))
    return [
        summarize(one.name, results) for one, results in zip(scenario.contenders, done, strict=True)
    ]


def _results(scenario: Scenario, plans: list[tuple[int, int]], processes: int) -> Iterable[Run]:
    jobs = [(scenario, scenario.contenders[one], seed) for one, seed in plans]
    if processes > 1 and len(jobs) > _FEW and _travels(scenario):
        return _in_parallel(jobs, processes)
    return (simulate(*job) for job in jobs)


def _in_parallel(jobs: list[tuple[Scenario, Contender, int]], processes: int) -> Iterator[Run]:
    # A fork of a program with threads may hang; a fresh interpreter is there in 0.3 s.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        yield from pool.map(_simulate, jobs)


def _simulate(job: tuple[Scenario, Contender, int]) -> Run:
    return simulate(*job)


def _travels(scenario: Scenario) -> bool:
    try:
        pickle.dumps(scenario)
    except Exception:  # noqa: BLE001 - whatever a user's function or class answers
        return False
    return True
