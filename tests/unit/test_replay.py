"""What a replay refuses, and how it reads what became of a job."""

from __future__ import annotations

import pytest

from turnout import Turnout
from turnout.errors import ConfigError
from turnout.ids import new_id
from turnout.job import JobRecord, State
from turnout.replay import Plan, verdict_of
from turnout.search import Query


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("state:running", "running jobs cannot be replayed"),
        ("state:dead,succeeded", "succeeded jobs cannot be replayed"),
        ("state:scheduled", "scheduled jobs cannot be replayed"),
        ("wrong:1", "known are state:"),
    ],
)
def test_a_query_that_cannot_be_replayed(query, said):
    with pytest.raises(ConfigError, match=said):
        Turnout("memory:").replays.start(query)


@pytest.mark.parametrize(
    "plan",
    [
        Plan(rate=0.0), Plan(rate=-1.0), Plan(rate=float("nan")), Plan(rate=20_000.0),
        Plan(canary=-1), Plan(canary=151), Plan(canary_share=0.0), Plan(canary_share=1.5),
        Plan(stop_at=0.0), Plan(stop_at=30.0), Plan(canary_within=0.0),
    ],
)  # fmt: skip
def test_a_plan_that_makes_no_sense(plan):
    app = Turnout("memory:")
    with pytest.raises(ConfigError, match=r"^replay"):
        app.replays.start(plan=plan)
    assert app.replays.all() == []


def test_a_query_too_long_to_be_kept():
    query = Query(tasks=tuple("x" * 400 + str(n) for n in range(20)))
    with pytest.raises(ConfigError, match="too long"):
        Turnout("memory:").replays.start(query)


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({"state": State.SUCCEEDED, "attempt": 1}, True),
        ({"state": State.QUEUED}, None),
        ({"state": State.RUNNING}, None),
        ({"state": State.QUEUED, "attempt": 1}, False),
        ({"state": State.RUNNING, "attempt": 1}, False),
        ({"state": State.QUEUED, "crashes": 1}, False),
        ({"state": State.DEAD, "attempt": 1}, False),
        ({"state": State.DISCARDED, "attempt": 1}, False),
    ],
)
def test_a_first_failed_attempt_is_a_failure_and_no_trace_a_success(fields, verdict):
    assert verdict_of(JobRecord(id=new_id(), task="t", queue="q", **fields)) is verdict
    assert verdict_of(None) is True
