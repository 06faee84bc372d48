"""Enqueueing for Ruby: what is refused, and where. What Redis then holds is tested there."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from turnout import ArgumentError, ConfigError, PayloadTooLarge, Turnout


@pytest.fixture
def jobs():
    return Turnout("memory:", max_payload=200)


def stub(order_id: int, when: datetime | None = None, *, loud: bool = False) -> None:
    """Stand for a Ruby method."""


def test_a_store_without_ruby_is_refused_with_what_to_do():
    jobs = Turnout("memory:")
    for made in (jobs.sidekiq("HardJob"), jobs.active_job("HardJob")):
        with pytest.raises(ConfigError, match=r"HardJob runs in Ruby.*memory.*redis://"):
            made.enqueue(1)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"queue": "no spaces"}, "queue"),
        ({"retry": -1}, "retry= takes True, False or a whole number"),
        ({"retry": "5"}, "retry="),
        ({"backtrace": 1.5}, "backtrace="),
        ({"delay": -1}, "delay="),
        ({"run_at": datetime(2026, 1, 1)}, "naive"),  # noqa: DTZ001
        ({"tags": "vip"}, "tags= takes a list"),
        ({"dead": None}, "dead="),
        ({"delay": 1, "run_at": datetime(2026, 1, 1, tzinfo=UTC)}, "twice"),
        ({"colour": "red"}, "no option colour=; known: queue"),
    ],
)
def test_options_that_cannot_be_are_refused_where_they_are_given(jobs, options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        jobs.sidekiq("HardJob").using(**options)
    with pytest.raises(ConfigError, match=complaint):
        jobs.sidekiq("HardJob", **options)


@pytest.mark.parametrize(
    ("made", "args", "kwargs", "complaint"),
    [
        ("any", ({1, 2},), {}, r"\$.*set"),
        ("any", (datetime(2026, 1, 1, tzinfo=UTC),), {}, "datetime"),
        ("any", (float("nan"),), {}, "nan"),
        ("any", ((1, 2),), {}, "tuple"),
        ("any", (), {"order_id": 1}, "unexpected keyword argument 'order_id'"),
        ("stub", (), {}, "missing a required argument: 'order_id'"),
        ("stub", ("x",), {}, "str"),
        ("stub", (1,), {"loud": True}, "by position alone, and loud"),
    ],
)
def test_arguments_that_ruby_could_not_read_are_refused_here(jobs, made, args, kwargs, complaint):
    hard = jobs.sidekiq("HardJob", stub) if made == "stub" else jobs.sidekiq("HardJob")
    with pytest.raises(ArgumentError, match=complaint):
        hard.enqueue(*args, **kwargs)


def test_arguments_that_are_too_large_are_refused(jobs):
    with pytest.raises(PayloadTooLarge):
        jobs.sidekiq("HardJob").enqueue("x" * 300)
    with pytest.raises(PayloadTooLarge, match="max_payload"):
        jobs.active_job("HardJob").enqueue("x" * 300)


def test_many_are_given_as_lists_of_arguments(jobs):
    with pytest.raises(ArgumentError, match="a list or tuple of arguments for each job, got 'x'"):
        jobs.sidekiq("HardJob").enqueue_many(["x"])
