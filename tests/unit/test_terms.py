"""What a job says of its own retries narrows what its task's rules decide."""

from __future__ import annotations

import pytest

from turnout.retry import Decision
from turnout.terms import Terms

NOW = 1_000.0


def decided(kind):
    run_at = 2_000.0 if kind == "retry" else None
    return Decision(kind=kind, counts={"default": 3}, reason="why", run_at=run_at)


@pytest.mark.parametrize(
    ("terms", "kind", "after"),
    [
        (Terms(), "retry", "retry"),
        (Terms(attempts=4), "retry", "retry"),
        (Terms(attempts=3), "retry", "dead"),
        (Terms(attempts=1), "retry", "dead"),
        (Terms(attempts=9), "dead", "dead"),
        (Terms(attempts=3, bury=False), "retry", "discard"),
        (Terms(bury=False), "dead", "discard"),
        (Terms(bury=False), "retry", "retry"),
        (Terms(attempts=1), "discard", "discard"),
        (Terms(retry_for=10.0), "retry", "retry"),
        (Terms(retry_for=10.0, failed_at=995.0), "retry", "retry"),
        (Terms(retry_for=10.0, failed_at=989.0), "retry", "dead"),
    ],
)
def test_terms_narrow_and_never_widen(terms, kind, after):
    found = terms.narrow(decided(kind), 3, NOW)
    assert found.kind == after
    assert (found.run_at is None) == (after != "retry")
    assert found.counts == {"default": 3}
    if after != kind:
        assert found.reason != "why"
