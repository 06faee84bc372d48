"""`drain` and `FakeClock`: run what is ready, and move time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from turnout import ConfigError, State, Turnout
from turnout.testing import FakeClock, drain, enqueued, memory

NOON = datetime(2031, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["memory", "sqlite"])
def any_shop(request, tmp_path, make_shop):
    """The application on a stand-in, and on a file of its own."""
    if request.param == "memory":
        made = make_shop("sqlite:///never.db")
        with memory(made.jobs):
            yield made
    else:
        made = make_shop(f"sqlite:///{tmp_path}/jobs.db")
        yield made
        made.jobs.close()


def test_everything_ready_runs_and_what_it_enqueues(any_shop):
    any_shop.place.enqueue(7)
    assert drain(any_shop.jobs) == {"succeeded": 3}
    assert sorted(any_shop.done) == [
        ("charge", 7, 100), ("mail", "ada@example.org"), ("place", 7),
    ]  # fmt: skip
    assert drain(any_shop.jobs) == {}


def test_one_queue_leaves_the_others_alone(any_shop):
    any_shop.place.enqueue(7)
    assert drain(any_shop.jobs, queue="default") == {"succeeded": 2}
    assert [job.queue for job in enqueued(any_shop.jobs)] == ["mails"]


def test_lanes_are_drained_with_their_queue_or_alone(any_shop):
    for lane in ("a", "b"):
        any_shop.charge.using(lane=lane).enqueue(1)
    any_shop.charge.using(lane="a", queue="elsewhere").enqueue(2)
    any_shop.charge.using(lane="c", run_at=datetime.now(UTC) + timedelta(days=1)).enqueue(3)
    assert drain(any_shop.jobs, queue="default~a") == {"succeeded": 1}
    assert drain(any_shop.jobs, queue="default") == {"succeeded": 1}
    assert drain(any_shop.jobs) == {"succeeded": 1}
    assert [job.queue for job in enqueued(any_shop.jobs)] == ["default~c"]


def test_failures_are_counted_and_kept(any_shop):
    error = any_shop.Flaky("no line")
    any_shop.failures = [error, any_shop.OutOfStock()]
    any_shop.jobs.enqueue_many(any_shop.charge.prepare(n) for n in range(3))
    came = drain(any_shop.jobs)
    assert came == {"retried": 1, "discarded": 1, "succeeded": 1}
    assert came.errors == [error]


def test_the_first_failure_is_raised_when_asked(any_shop):
    any_shop.failures = [any_shop.Flaky("one"), any_shop.Flaky("two")]
    any_shop.jobs.enqueue_many(any_shop.charge.prepare(n) for n in range(3))
    with pytest.raises(any_shop.Flaky, match="one") as caught:
        drain(any_shop.jobs, raise_errors=True)
    assert caught.value.__notes__ == ["1 more of the jobs that ran here failed"]
    assert len(any_shop.done) == 1


def test_later_jobs_run_as_the_clock_moves(any_shop):
    with FakeClock(NOON).installed(any_shop.jobs) as clock:
        any_shop.charge.using(delay=timedelta(hours=2)).enqueue(2)
        any_shop.charge.using(delay=60).enqueue(1)
        any_shop.charge.using(run_at=NOON + timedelta(days=2)).enqueue(3)
        assert drain(any_shop.jobs) == {}
        assert drain(any_shop.jobs, until=timedelta(days=1)) == {"succeeded": 2}
        assert clock.now() == NOON + timedelta(days=1)
        clock.advance(86_400)
        assert drain(any_shop.jobs) == {"succeeded": 1}
    assert [order for _, order, _ in any_shop.done] == [1, 2, 3]


def test_retries_come_at_their_time(any_shop):
    any_shop.failures = [any_shop.Flaky(f"{n}") for n in range(9)]
    with FakeClock(NOON).installed(any_shop.jobs) as clock:
        job = any_shop.charge.enqueue(7)
        assert drain(any_shop.jobs, until=NOON + timedelta(hours=1)) == {"retried": 3, "dead": 1}
        record = job.refresh()
        assert record.state is State.DEAD
        began = [attempt.started_at - NOON.timestamp() for attempt in record.attempts]
        assert began == [0, 60, 120, 180]
        assert clock.now() == NOON + timedelta(hours=1)


def test_a_deadline_passes_with_the_clock(any_shop):
    with FakeClock(NOON).installed(any_shop.jobs) as clock:
        job = any_shop.charge.using(expires=60).enqueue(7)
        clock.advance(61)
        assert drain(any_shop.jobs) == {"discarded": 1}
        assert job.refresh().state is State.DISCARDED


def test_an_async_timeout_is_kept(any_shop):
    any_shop.slow.enqueue()
    came = drain(any_shop.jobs)
    assert came == {"dead": 1}
    assert "0.01 s" in str(came.errors[0])


def test_it_is_bounded(any_shop):
    any_shop.chain.enqueue()
    with pytest.raises(AssertionError, match=r"ran 50 attempts and more are ready, first chain"):
        drain(any_shop.jobs, limit=50)
    assert len(enqueued(any_shop.jobs)) == 1


def test_an_unknown_task_goes_back(shop, make_shop):
    with memory(shop.jobs) as store:
        shop.charge.enqueue(7)
        other = Turnout("memory:")
        other._store = store
        assert drain(other) == {"released": 1}
        assert len(enqueued(shop.jobs)) == 1


def test_until_needs_a_fake_clock(shop):
    with memory(shop.jobs), pytest.raises(ConfigError, match="FakeClock"):
        drain(shop.jobs, until=60)


def test_the_clock_is_put_back(shop):
    before = shop.jobs.clock
    with memory(shop.jobs) as store:
        own = store.clock
        with FakeClock(0).installed(shop.jobs) as clock:
            assert shop.jobs.clock is store.clock is clock
        assert store.clock is own
    assert shop.jobs.clock is before


def test_the_clock_never_goes_back():
    clock = FakeClock(NOON)
    with pytest.raises(ConfigError):
        clock.advance(-1)
    clock.move_to(NOON - timedelta(days=1))
    assert clock.now() == NOON
    assert clock() == NOON.timestamp()
    assert repr(clock) == "<FakeClock at 2031-05-01T12:00:00+00:00>"


def test_the_clock_refuses_a_naive_start():
    with pytest.raises(ConfigError, match="naive"):
        FakeClock(datetime(2031, 1, 1))  # noqa: DTZ001


def test_a_store_with_a_server_clock_is_refused(shop):
    shop.jobs._store = object()
    with pytest.raises(ConfigError, match="memory"), FakeClock().installed(shop.jobs):
        pass
