"""Tasks that misbehave when they run: whatever they raise or return, their job is accounted for."""

from __future__ import annotations

import sys
import threading

import pytest

from turnout import Turnout, discard_on, exactly
from turnout.job import JobRecord, State
from unit.harness import Bench


@pytest.fixture(params=("memory:", "sqlite:///jobs.db"))
def bench(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Bench(Turnout(request.param))
    yield made
    made.app.close()


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Rude(Exception):
    def __str__(self) -> str:  # noqa: PLE0307 - it never gets to return
        sys.exit(3)


def runs(bench, fn, **options):
    """Make `fn` a task, run one job of it through a worker's drain, return its record."""
    task = bench.app.task(name="it", attempts=1, **options)(fn)
    job = task.enqueue()
    bench.drain()
    return job.refresh()


def raising(error):
    def task() -> None:
        raise error

    return task


def araising(error):
    async def task() -> None:
        raise error

    return task


@pytest.mark.parametrize("make", [raising, araising])
@pytest.mark.parametrize(
    ("error", "name", "word"),
    [
        (Unspeakable(), "Unspeakable", "no message"),
        (Rude(), "Rude", "no message"),
        (SystemExit(2), "SystemExit", "2"),
        (KeyboardInterrupt(), "KeyboardInterrupt", ""),
        (GeneratorExit(), "GeneratorExit", ""),
        (BaseException("bare"), "BaseException", "bare"),
        (BaseExceptionGroup("both", [SystemExit(1), ValueError()]), "BaseExceptionGroup", "both"),
        (ValueError("nul \0 and \ud800 surrogate"), "ValueError", "nul \ufffd and \ufffd"),
        (ValueError("x" * 100_000), "ValueError", "xxx"),
    ],
)
def test_whatever_it_raises_the_job_ends_as_told_and_the_worker_lives(
    bench, make, error, name, word
):
    record = runs(bench, make(error))
    assert record.state is State.DEAD
    assert (record.error or "").endswith(name)
    [entry] = record.attempts
    assert word in (entry.message or "")
    assert len(entry.message or "") <= 2000
    assert len(entry.traceback or "") <= 8000
    after = bench.app.task(name="after")(lambda: None).enqueue()
    bench.drain()
    assert after.refresh().state is State.SUCCEEDED


def test_a_recursion_error(bench):
    def deeper(n: int = 0) -> int:
        return deeper(n + 1) + 1

    record = runs(bench, deeper)
    assert (record.state, record.error) == (State.DEAD, "RecursionError")


@pytest.mark.parametrize(
    "result",
    [object(), float("nan"), "\ud800", {"a": "x\udc00"}, {object(): 1}, "x" * 70_000, [[]] * 10**5],
)
def test_a_result_that_cannot_be_kept_does_not_fail_a_job_whose_work_is_done(bench, result):
    record = runs(bench, lambda: result)
    assert record.state is State.SUCCEEDED
    assert record.result is None
    assert "result not kept" in (record.reason or "")


def test_a_result_that_holds_itself_does_not_fail_the_job(bench):
    result: list = []
    result.append(result)
    record = runs(bench, lambda: result)
    assert (record.state, record.result) == (State.SUCCEEDED, None)


def test_nul_bytes_travel_in_arguments_results_and_progress(bench):
    from turnout import current_job

    @bench.app.task(name="echo")
    def echo(text: str) -> str:
        current_job().progress(0.5, message=text)
        return text

    job = echo.enqueue("a\0b")
    bench.drain()
    assert job.wait(1) == "a\0b"
    assert "\\u0000" in (job.refresh().progress or "")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "half", True, None])
def test_progress_that_is_no_number_fails_in_the_callers_hands(bench, value):
    from turnout import current_job

    record = runs(bench, lambda: current_job().progress(value))
    assert record.state is State.DEAD
    assert "finite number" in (record.message or "")


def test_a_message_of_progress_is_cut_and_made_storable(bench):
    from turnout import current_job

    record = runs(bench, lambda: current_job().progress(1, 4, "\ud800" + "x" * 5_000))
    assert record.state is State.SUCCEEDED
    assert f'"message":"?{"x" * 1_999}"' in (record.progress or "")


def test_a_def_that_returns_a_coroutine_fails(bench):
    async def charge(order):
        raise AssertionError("never awaited, never run")

    record = runs(bench, lambda order=7: charge(order))
    assert record.state is State.DEAD
    assert "make it an `async def`" in (record.message or "")


def test_nul_and_surrogates_in_reasons_are_replaced(bench):
    from turnout import Cancel, Discard

    for n, kind in enumerate((Discard, Cancel)):
        job = bench.app.task(name=f"t{n}")(raising(kind("why \0 \ud800"))).enqueue()
        bench.drain()
        record = job.refresh()
        assert record.state.is_final
        assert record.reason == "why \ufffd \ufffd"


def test_a_class_with_an_unstorable_name(bench):
    kind = type("Bad", (Exception,), {"__module__": "shop\ud800"})
    record = runs(bench, raising(kind("x")), on_error=[discard_on(kind)])
    assert record.state is State.DISCARDED
    assert "\ufffd" in (record.error or "")


@pytest.mark.parametrize("answer", [-1, "soon", None, float("nan"), 10**400])
def test_a_wait_function_that_answers_nonsense(bench, answer):
    task = bench.app.task(name="it", attempts=3, wait=lambda n, error: answer)(raising(OSError()))
    job = task.enqueue()
    bench.drain()
    record = job.refresh()
    assert record.state is State.QUEUED
    assert record.attempt == 1
    assert record.run_at > record.enqueued_at


def test_a_middleware_and_a_listener_that_exit(bench):
    from turnout.events import JobStarted, JobSucceeded

    calls: list[str] = []

    def leave(event) -> None:
        calls.append(type(event).__name__)
        raise SystemExit(1)

    bench.app.on(JobStarted)(leave)
    bench.app.on(JobSucceeded)(leave)
    record = runs(bench, lambda: None)
    assert record.state is State.SUCCEEDED
    assert calls == ["JobStarted", "JobSucceeded"]

    @bench.app.around_run
    def exits(job, proceed):
        raise SystemExit(2)

    job = bench.app.task(name="other", attempts=1)(lambda: None).enqueue()
    bench.drain()
    assert job.refresh().error == "SystemExit"


def test_a_listener_that_interrupts_does_not_end_the_worker(bench):
    from turnout.events import JobStarted

    def interrupt(event) -> None:
        raise KeyboardInterrupt

    bench.app.on(JobStarted)(interrupt)
    records: list[JobRecord] = []
    # In a thread, as a worker's jobs are; in the main thread it would be a person's Ctrl-C.
    thread = threading.Thread(target=lambda: records.append(runs(bench, lambda: None)))
    thread.start()
    thread.join(10)
    assert [record.state for record in records] == [State.SUCCEEDED]


def test_arguments_of_another_version_of_the_task_fail_the_attempt_with_both_sides_told(bench):
    old = Turnout(bench.app.url)
    old.task(name="it", wait=exactly(5))(lambda order: None)
    store = bench.app.store
    bench.app.task(name="it", wait=exactly(5))(lambda order_id: None)
    from turnout.ids import new_id
    from turnout.job import NewJob

    job_id = new_id()
    store.enqueue([NewJob(id=job_id, task="it", queue="default", args='{"order": 1}')])
    bench.drain()
    record = bench.app.job(job_id).refresh()
    assert (record.state, record.error) == (State.QUEUED, "turnout.errors.ArgumentError")
    assert "another version" in (record.attempts[0].message or "")
