"""Random verbs on the memory store and on an adapter: every answer must be the same."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from conformance.machine import Comparison
from conformance.stores import URLS, set_up
from conformance.strategies import ENDINGS
from turnout.store.memory import MemoryStore

REACHED = (
    "late settle",
    "note",
    "stopped",
    "reaped queued",
    "reaped dead",
    "reaped cancelled",
    "retry",
    "revived",
    "cancel",
    "delete",
    "pruned",
    "refused",
    "repeated",
)
"""What must happen often, besides every ending, for the comparison to mean something."""


BOUNDED = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


@pytest.mark.timeout(400)  # a pass takes seconds; a failure needs time to be made small
@pytest.mark.parametrize("name", [name for name in URLS if name != "memory"])
def test_the_adapter_answers_as_the_reference_does(name, tmp_path_factory):
    def compare() -> Comparison:
        return Comparison(set_up(URLS[name](tmp_path_factory.mktemp(name))))

    examples = {"sqlite": 100}.get(name, 6)  # a step on a server costs ten times one on a file
    run_state_machine_as_test(compare, settings=settings(BOUNDED, max_examples=examples))


def test_the_machine_reaches_every_ending_and_every_answer():
    """A machine that never settles a job would agree with anything."""
    machines: list[Comparison] = []

    def compare() -> Comparison:
        machines.append(Comparison(MemoryStore()))
        return machines[-1]

    many = settings(BOUNDED, derandomize=True, database=None, max_examples=150)
    run_state_machine_as_test(compare, settings=many)
    reached = sum((machine.reached for machine in machines), Counter())
    wanted = {*ENDINGS, *REACHED}
    assert {what: reached[what] for what in wanted if reached[what] < 5} == {}
