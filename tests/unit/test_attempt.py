"""One attempt, from its arguments to its outcome: every road through `worker/attempt.py`."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest

from turnout import (
    Cancel,
    Discard,
    JobTimeout,
    Retry,
    Snooze,
    Turnout,
    discard_on,
    exactly,
    retry_on,
)
from turnout.job import AttemptRecord, LeasedJob, State, Trail
from turnout.worker.attempt import MOST_ATTEMPTS_KEPT
from unit.harness import Bench

NOW = 1_800_000_000.0


@pytest.fixture
def app():
    made = Turnout("memory:")
    made.clock = lambda: NOW
    return made


def leased(**fields) -> LeasedJob:
    usual = {
        "id": "0190a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2b", "task": "t", "queue": "default",
        "args": "{}", "priority": 0, "attempt": 0, "crashes": 0, "enqueued_at": NOW - 9,
        "run_at": NOW - 9, "expires_at": None, "context": None, "trail": None, "unique": None,
        "fence": 1,
    }  # fmt: skip
    return LeasedJob(**{**usual, **fields})


@pytest.fixture(params=["def", "async def"])
def attempt(request, app):
    """Run a function as one attempt of the task "t", as `def` and as `async def`."""

    def run(fn, job=None, flags=None, **options):
        async def coroutine():
            return fn()

        app.task(name="t", **options)(fn if request.param == "def" else coroutine)
        return Bench(app).attempt(job or leased(), **(flags or {}))

    return run


def raising(error):
    def task() -> None:
        raise error

    return task


def trail_of(outcome) -> Trail:
    return msgspec.json.decode(outcome.trail, type=Trail)


def test_success(attempt):
    outcome = attempt(lambda: {"a": 1}, keep=5)
    assert (outcome.state, outcome.attempt, outcome.keep) == (State.SUCCEEDED, 1, 5)
    assert outcome.result == '{"a":1}'
    assert outcome.trail is None


def test_nothing_is_run_after_its_deadline(attempt):
    outcome = attempt(lambda: pytest.fail("it ran"), leased(expires_at=NOW - 1))
    assert outcome.state is State.DISCARDED
    assert "deadline" in outcome.reason


def test_something_is_run_right_at_its_deadline(attempt):
    assert attempt(lambda: None, leased(expires_at=NOW)).state is State.SUCCEEDED


def test_an_error_without_a_rule_is_retried_with_jitter(attempt):
    outcome = attempt(raising(ValueError("x")))
    assert (outcome.state, outcome.attempt) == (State.QUEUED, 1)
    assert NOW + 10 < outcome.run_at < NOW + 30
    [entry] = trail_of(outcome).attempts
    assert (entry.attempt, entry.outcome, entry.error) == (1, "retried", "ValueError")
    assert entry.message == "x"
    assert "raise error" in entry.traceback


def test_the_last_attempt_ends_in_the_dead_set(attempt):
    outcome = attempt(raising(ValueError()), attempts=1)
    assert outcome.state is State.DEAD
    assert "1 of 1" in outcome.reason


def test_rules_count_for_themselves(attempt):
    rules = [retry_on(OSError, attempts=2, wait=exactly(7)), discard_on(KeyError)]
    first = attempt(raising(OSError()), on_error=rules)
    assert (first.state, first.run_at) == (State.QUEUED, NOW + 7)
    assert trail_of(first).counts == {"retry:OSError": 1}


def test_what_a_rule_used_up_is_remembered_and_charged_to_nobody_else(attempt):
    rules = [retry_on(OSError, attempts=2)]
    before = msgspec.json.encode(Trail(counts={"retry:OSError": 1})).decode()
    job = leased(attempt=1, trail=before)
    assert attempt(raising(OSError()), job, on_error=rules).state is State.DEAD


def test_an_error_of_another_kind_is_not_charged_to_the_rule(attempt):
    rules = [retry_on(OSError, attempts=2)]
    before = msgspec.json.encode(Trail(counts={"retry:OSError": 1})).decode()
    job = leased(attempt=1, trail=before)
    assert attempt(raising(ValueError()), job, on_error=rules).state is State.QUEUED


def test_a_rules_last_attempt(attempt):
    calls = []
    rule = retry_on(OSError, attempts=1, then=lambda job, error: calls.append((job.id, error)))
    outcome = attempt(raising(OSError("down")), on_error=[rule])
    assert outcome.state is State.DEAD
    [(job_id, error)] = calls
    assert (job_id, str(error)) == (outcome.job.id, "down")


def test_discard_with_then(attempt):
    calls = []
    rule = discard_on(KeyError, then=lambda job, error: calls.append(job.attempt))
    outcome = attempt(raising(KeyError("x")), on_error=[rule])
    assert (outcome.state, calls) == (State.DISCARDED, [1])


@pytest.mark.parametrize("trouble", [RuntimeError("db"), SystemExit(1), KeyboardInterrupt()])
def test_a_then_that_raises_brings_the_job_back(attempt, trouble):
    def then(job, error):
        raise trouble

    outcome = attempt(raising(KeyError("x")), on_error=[discard_on(KeyError, then=then)])
    assert outcome.state is State.QUEUED, "what then= was to do is not done"
    assert outcome.run_at > NOW
    assert type(trouble).__name__ in trail_of(outcome).attempts[-1].error


@pytest.mark.parametrize(
    ("error", "state", "counted", "delay"),
    [
        (Retry("later", after=100), State.QUEUED, 1, (100, 110)),
        (Retry(), State.QUEUED, 1, (10, 30)),
        (Snooze(after=50), State.QUEUED, 0, (50, 50)),
        (Discard("spam"), State.DISCARDED, 1, None),
        (Cancel("gone"), State.CANCELLED, 1, None),
    ],
)
def test_what_the_task_asks_for_happens(attempt, error, state, counted, delay):
    outcome = attempt(raising(error), leased(attempt=0))
    assert (outcome.state, outcome.attempt) == (state, counted)
    if delay:
        assert NOW + delay[0] <= outcome.run_at <= NOW + delay[1]
    if state is not State.QUEUED:
        assert outcome.reason == str(error)


def test_retry_counts_and_ends(attempt):
    assert attempt(raising(Retry(after=1)), attempts=1).state is State.DEAD


def test_retry_after_is_honoured(attempt):
    error = OSError("429")
    error.retry_after = 333
    outcome = attempt(raising(error), on_error=[retry_on(OSError, wait=exactly(1))])
    assert NOW + 333 <= outcome.run_at <= NOW + 370


@pytest.mark.parametrize("error", [ValueError(), Retry(), Cancel("x"), Snooze(after=1)])
def test_a_cancelled_job_that_raises_is_cancelled(attempt, error):
    assert attempt(raising(error), flags={"cancelled": True}).state is State.CANCELLED


def test_a_cancelled_job_that_finishes_has_succeeded(attempt):
    assert attempt(lambda: None, flags={"cancelled": True}).state is State.SUCCEEDED


def test_a_timed_out_attempt_says_so(attempt):
    outcome = attempt(raising(ValueError()), flags={"timed_out": True}, timeout=3, attempts=1)
    assert outcome.error == "turnout.errors.JobTimeout"
    assert "3" in trail_of(outcome).attempts[-1].message


def test_rules_may_name_the_timeout(attempt):
    rule = discard_on(JobTimeout)
    outcome = attempt(raising(ValueError()), flags={"timed_out": True}, timeout=3, on_error=[rule])
    assert outcome.state is State.DISCARDED


def test_an_async_timeout_is_told_from_a_timeout_error_of_the_tasks_own(app):
    async def slow() -> None:
        await asyncio.sleep(30)

    async def own() -> None:
        raise TimeoutError("the service's")

    app.task(name="t", timeout=0.05, attempts=1)(slow)
    began = time.monotonic()
    outcome = Bench(app).attempt(leased())
    assert time.monotonic() - began < 5
    assert outcome.error == "turnout.errors.JobTimeout"
    app.tasks.clear()
    app.task(name="t", timeout=5, attempts=1)(own)
    assert Bench(app).attempt(leased()).error == "TimeoutError"


@pytest.mark.parametrize("text", ['{"n":1}', "[", '"x"', "[1]", ""])
def test_arguments_that_do_not_fit_fail_the_attempt(attempt, text):
    outcome = attempt(lambda: None, leased(args=text))
    assert (outcome.state, outcome.error) == (State.QUEUED, "turnout.errors.ArgumentError")


@pytest.mark.parametrize("broken", ["[", '{"attempts": 7}', "null"])
@pytest.mark.parametrize("error", [ValueError("x"), Snooze(after=1), Discard("x")])
def test_a_history_that_cannot_be_read_ends_no_worker(attempt, broken, error):
    outcome = attempt(raising(error), leased(trail=broken))
    assert outcome.state in {State.QUEUED, State.DISCARDED}


def test_a_context_that_cannot_be_read_fails_the_attempt(attempt):
    assert attempt(lambda: None, leased(context="[")).state is State.QUEUED


def test_a_long_history_keeps_its_beginning_and_its_end(attempt):
    entry = AttemptRecord(0, NOW, NOW, "w", "retried", "ValueError", "x")
    many = tuple(msgspec.structs.replace(entry, attempt=n) for n in range(1, 101))
    text = msgspec.json.encode(Trail(attempts=many)).decode()
    outcome = attempt(raising(ValueError()), leased(attempt=100, trail=text), attempts=1000)
    numbers = [one.attempt for one in trail_of(outcome).attempts]
    assert len(numbers) == MOST_ATTEMPTS_KEPT
    assert numbers[:6] == [1, 2, 3, 4, 5, 77]
    assert numbers[-1] == 101
