"""Deleting what is old, beside another worker that does the same."""

from __future__ import annotations

from turnout.store.server.upkeep import _prune_successes


class TurnBesideAnother:
    """A turn that finds an old batch, which is gone when it comes to lock it."""

    now = 1_000.0

    def __init__(self) -> None:
        self.asked: list[str] = []

    def rows(self, verb, *_values):
        self.asked.append(verb)
        return [(7,)] if verb == "overdue_traces" else []


def test_a_batch_that_another_worker_deleted_first_is_passed_over():
    turn = TurnBesideAnother()
    assert _prune_successes(turn, 10) == 0
    assert turn.asked == ["overdue_traces", "trace_row", "overdue_successes", "drop_final"]
