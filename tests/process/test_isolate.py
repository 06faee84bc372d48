"""Isolated tasks: what they see, how they end, and that what kills one kills nothing else."""

from __future__ import annotations

import json
import os
import random
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from conformance.builders import run_ddl, run_sql
from process.rig import is_alive, wait_until
from process.shop import tenant
from turnout.job import JobFilter, State
from turnout.worker.options import WorkerOptions
from turnout.worker.process import WorkerProcess, run_in_thread

pytestmark = pytest.mark.process


def result(rig, job: str):
    return json.loads(rig.until(job, State.SUCCEEDED).result)


def pid_of(rig, name: str, word: str = "start") -> int:
    """Return the process in which a job of this name last said a word."""
    rig.until_said(word, name)
    return int(rig.ledger.said(word, name)[-1][2])


def nursery_of(worker) -> int:
    [child] = worker.children()
    [pid] = children_of(child)
    return pid


def children_of(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# ---- inside


def test_a_job_in_a_child_sees_what_every_job_sees(rig):
    worker = rig.start()
    token = tenant.set("acme")
    job = rig.enqueue("iso", "a")
    tenant.reset(token)
    seen = result(rig, job)
    assert (seen["id"], seen["key"], seen["attempt"]) == (job, job, 1)
    assert 50 < seen["left"] <= 60
    assert seen["tenant"] == "acme"
    assert seen["is_main"]
    assert seen["threads"] == ["MainThread", "turnout-wire"], "none of the worker's threads"
    assert seen["pid"] not in worker.children()
    assert json.loads(rig.record(job).progress) == {"value": 3, "total": 4, "message": "nearly"}
    rig.until_said("note", "from-a")


def test_a_coroutine_runs_there_too_and_children_are_used_again(sqlite_rig):
    sqlite_rig.start(children=1)
    words = [result(sqlite_rig, sqlite_rig.enqueue("iso_async", f"{n}")) for n in range(5)]
    assert len({word.rpartition(" ")[2] for word in words}) == 1
    fresh = [result(sqlite_rig, sqlite_rig.enqueue("iso_fresh", f"{n}")) for n in range(4)]
    assert len(set(fresh)) >= 3, "each job had a process of its own"


def test_an_error_comes_back_with_its_traceback_and_the_rules_hold(sqlite_rig):
    worker = sqlite_rig.start()
    record = sqlite_rig.until(sqlite_rig.enqueue("iso_fail", "42"), State.DEAD)
    assert (record.attempt, record.crashes, record.error) == (2, 0, "LookupError")
    assert record.message == "no such order: 42"
    assert "in iso_fail" in record.attempts[-1].traceback
    worker.until_logged("error=LookupError 'no such order: 42'")


def test_many_jobs_go_through_few_children(sqlite_rig):
    jobs = [sqlite_rig.enqueue("iso_async", f"{n}") for n in range(200)]
    sqlite_rig.start(children=2)
    for job in jobs:
        sqlite_rig.until(job, State.SUCCEEDED, timeout=30)


def test_a_large_argument_arrives_whole(sqlite_rig):
    sqlite_rig.start(children=1)
    text = "x" * 900_000
    job = sqlite_rig.enqueue("iso_fail", text)
    assert sqlite_rig.until(job, State.DEAD).crashes == 0


def test_children_get_work_while_every_thread_is_busy(sqlite_rig):
    sqlite_rig.start(threads=1, children=1)
    sqlite_rig.enqueue("hold", "a")
    sqlite_rig.until_said("start", "a")
    for n in range(3):
        sqlite_rig.until(sqlite_rig.enqueue("iso_apart", f"{n}"), State.SUCCEEDED)
    sqlite_rig.ledger.release("a")


# ---- crashes


@pytest.mark.parametrize("way", ["exit3", "exit0", "segfault", "kill"])
def test_a_crash_ends_that_job_alone(sqlite_rig, way):
    worker = sqlite_rig.start(children=2)
    pids = worker.children()
    neighbours = [sqlite_rig.enqueue("hold", "a"), sqlite_rig.enqueue("iso_hold", "b")]
    for name in "ab":
        sqlite_rig.until_said("start", name)
    bad = sqlite_rig.enqueue("iso_die", "bad", way, 1)
    record = sqlite_rig.until(bad, State.SUCCEEDED)
    assert (record.attempt, record.crashes) == (1, 1)
    for name in "ab":
        sqlite_rig.ledger.release(name)
    for job in neighbours:
        record = sqlite_rig.until(job, State.SUCCEEDED)
        assert (record.attempt, record.crashes) == (1, 0)
    assert worker.children() == pids, "the worker lives on"


def test_a_job_that_crashes_three_times_is_quarantined_with_its_evidence(rig):
    worker = rig.start()
    pids = worker.children()
    bad = rig.enqueue("iso_die", "bad", "segfault")
    record = rig.until(bad, State.DEAD)
    assert (record.attempt, record.crashes) == (0, 3)
    assert record.reason == "its worker died under it 3 times"
    assert [entry.outcome for entry in record.attempts] == ["crashed"] * 3
    for entry in record.attempts:
        assert "signal SIGSEGV" in entry.message
        assert "MB at its peak" in entry.message
        assert "about to segfault" in entry.traceback
        assert "Fatal Python error: Segmentation fault" in entry.traceback
        assert "in die" in entry.traceback, "the stack at its death"
    worker.until_logged("about to segfault")  # its words reach the worker's log as well
    assert worker.children() == pids
    good = rig.enqueue("iso_async", "good")
    rig.until(good, State.SUCCEEDED)


def test_a_task_may_say_that_one_crash_is_enough(rig):
    rig.start()
    for task, state in (("iso_die_once", State.DEAD), ("die_once", State.DISCARDED)):
        record = rig.until(rig.enqueue(task, task, "exit3"), state)
        assert (record.attempt, record.crashes) == (0, 1)
        assert len(rig.ledger.said("start", task)) == 1


def test_a_crash_in_a_transaction_leaves_nothing_of_it(sqlite_rig):
    run_ddl(sqlite_rig.store, "CREATE TABLE charge (order_id INTEGER)")
    sqlite_rig.start()
    record = sqlite_rig.until(sqlite_rig.enqueue("iso_charge", 7), State.SUCCEEDED)
    assert (record.attempt, record.crashes) == (1, 1)
    with sqlite_rig.store.transaction() as connection:
        assert run_sql(connection, "SELECT order_id FROM charge") == [(7,)]


def test_a_storm_of_kills_loses_no_isolated_job(sqlite_rig):
    worker = sqlite_rig.start(children=3)
    pids = worker.children()
    jobs = [sqlite_rig.enqueue("iso_nap", f"{n}", 0.02) for n in range(120)]
    rng = random.Random(1)
    for kill in range(12):
        wait_until(
            lambda most=8 * (kill + 1): len(sqlite_rig.ledger.said("start")) >= most, "more starts"
        )
        with suppress(IndexError, ProcessLookupError):
            os.kill(rng.choice(children_of(nursery_of(worker))), signal.SIGKILL)

    def all_but_the_quarantined() -> bool:
        where = JobFilter(ids=tuple(jobs), states=(State.DEAD,))
        sqlite_rig.store.change(where, "retry")
        return sqlite_rig.states(jobs) == {State.SUCCEEDED: len(jobs)}

    wait_until(all_but_the_quarantined, "all are done", timeout=40)
    assert worker.children() == pids, "no kill of a child reaches the worker"
    crashes = sum(sqlite_rig.record(job).crashes for job in jobs)
    ended, started = len(sqlite_rig.ledger.said("end")), len(sqlite_rig.ledger.said("start"))
    assert ended <= started <= len(jobs) + crashes + 12, "nothing runs twice without a crash"
    assert ended >= len(jobs)


# ---- bounds


def test_a_timeout_kills_even_code_that_holds_the_interpreter(sqlite_rig):
    worker = sqlite_rig.start(children=1)
    pids = worker.children()
    record = sqlite_rig.until(sqlite_rig.enqueue("iso_stuck", "a", 30.0), State.DEAD)
    assert record.error == "turnout.errors.JobTimeout"
    assert (record.attempt, record.crashes) == (1, 0)
    assert record.finished_at - record.started_at < 10
    stuck = pid_of(sqlite_rig, "a")
    wait_until(lambda: not is_alive(stuck), "it is dead, not left behind")
    sqlite_rig.until(sqlite_rig.enqueue("iso_async", "next"), State.SUCCEEDED)
    assert worker.children() == pids


def test_the_rules_of_the_task_decide_what_a_timeout_means(sqlite_rig):
    sqlite_rig.start()
    record = sqlite_rig.until(sqlite_rig.enqueue("iso_late", "a"), State.DEAD)
    assert "1 of 1 attempts used under retry_on" in record.reason
    assert [line[2] for line in sqlite_rig.ledger.said("then", "a")] == ["JobTimeout"]


def test_memory_beyond_the_ceiling_fails_at_its_line(sqlite_rig):
    worker = sqlite_rig.start(children=1)
    pids = worker.children()
    record = sqlite_rig.until(sqlite_rig.enqueue("iso_hog", "big", 1000), State.DISCARDED)
    assert (record.error, record.crashes) == ("MemoryError", 0)
    assert "in iso_hog" in record.attempts[-1].traceback
    assert [line[2] for line in sqlite_rig.ledger.said("then", "big")] == ["MemoryError"]
    assert result(sqlite_rig, sqlite_rig.enqueue("iso_hog", "small", 50)) == 50 * 2**20
    assert result(sqlite_rig, sqlite_rig.enqueue("iso_async", "free")), "no ceiling for others"
    assert worker.children() == pids


# ---- orders and ends


def test_a_worker_inside_another_program_has_children_too_and_leaves_none(sqlite_rig):
    app = sqlite_rig.app
    worker = WorkerProcess(app, WorkerOptions(threads=1, children=2, heartbeat=0.2, dead_after=5))
    thread = run_in_thread(worker)
    seen = app.tasks["iso"].enqueue("a").wait(20)
    assert seen["threads"] == ["MainThread", "turnout-wire"]
    assert seen["pid"] != os.getpid()
    worker.stop()
    thread.join(20)
    assert not thread.is_alive()
    [line] = sqlite_rig.ledger.said("ran", "a")
    assert not any(is_alive(int(pid)) for pid in line[2:]), "child and nursery are gone"


def test_a_cancelled_job_is_told_and_then_killed(sqlite_rig):
    sqlite_rig.start()
    job = sqlite_rig.enqueue("iso_hold", "a")
    pid = pid_of(sqlite_rig, "a")
    assert sqlite_rig.store.change(JobFilter(ids=(job,)), "cancel") == 1
    record = sqlite_rig.until(job, State.CANCELLED)
    assert sqlite_rig.ledger.said("cancelled", "a"), "it was told"
    assert (record.reason, record.crashes) == ("cancelled while it ran", 0)
    wait_until(lambda: not is_alive(pid), "it was killed")


def test_a_cancelled_coroutine_in_a_child_is_cancelled(sqlite_rig):
    sqlite_rig.start()
    job = sqlite_rig.enqueue("iso_ahold", "a")
    pid = pid_of(sqlite_rig, "a")
    assert sqlite_rig.store.change(JobFilter(ids=(job,)), "cancel") == 1
    sqlite_rig.until(job, State.CANCELLED)
    assert sqlite_rig.ledger.said("cancelled", "a")
    assert is_alive(pid), "no need to kill the child"


def test_a_stop_lets_isolated_jobs_finish(sqlite_rig):
    worker = sqlite_rig.start()
    job = sqlite_rig.enqueue("iso_hold", "a")
    pid = pid_of(sqlite_rig, "a")
    worker.signal(signal.SIGTERM)
    sqlite_rig.until_said("stopping", "a")
    sqlite_rig.ledger.release("a")
    assert worker.wait() == 0
    assert sqlite_rig.until(job, State.SUCCEEDED).attempt == 1
    assert not is_alive(pid)


@pytest.mark.parametrize("task", ["iso_hold", "iso_ahold"])
def test_at_the_end_of_the_grace_they_go_back_unblamed(sqlite_rig, task):
    worker = sqlite_rig.start(grace=0.3)
    job = sqlite_rig.enqueue(task, "a")
    pid = pid_of(sqlite_rig, "a")
    nursery = nursery_of(worker)
    assert worker.stop() == 0, worker.log
    record = sqlite_rig.until(job, State.QUEUED)
    assert (record.attempt, record.crashes, record.attempts) == (0, 0, ())
    assert not is_alive(pid)
    assert not is_alive(nursery)


def test_a_kill_of_the_worker_takes_its_children_along(sqlite_rig):
    worker = sqlite_rig.start(heartbeat=5.0, dead_after=60.0)
    job = sqlite_rig.enqueue("iso_hold", "a")
    pid, nursery = pid_of(sqlite_rig, "a"), nursery_of(worker)
    worker.signal_child(signal.SIGKILL)
    wait_until(lambda: not is_alive(pid) and not is_alive(nursery), "they are gone too")
    sqlite_rig.until_said("start", "a", 2)
    sqlite_rig.ledger.release("a")
    record = sqlite_rig.until(job, State.SUCCEEDED)
    assert (record.attempt, record.crashes) == (1, 1)


def test_a_job_whose_lease_was_lost_is_told_and_then_killed(sqlite_rig):
    worker = sqlite_rig.start()
    sqlite_rig.enqueue("iso_hold", "a")
    zombie = pid_of(sqlite_rig, "a")
    [info] = sqlite_rig.store.workers()
    sqlite_rig.store.reap(epoch=info.epoch)
    sqlite_rig.until_said("lost", "a")
    assert int(sqlite_rig.ledger.said("lost", "a")[0][2]) == zombie
    wait_until(lambda: not is_alive(zombie), "it was killed")
    sqlite_rig.until_said("start", "a", 2)
    assert pid_of(sqlite_rig, "a") != zombie
    assert "its process died under it" not in worker.log, "nobody takes that for a crash"


def test_a_kill_of_the_nursery_costs_no_job(sqlite_rig):
    worker = sqlite_rig.start(heartbeat=5.0, dead_after=60.0)
    job = sqlite_rig.enqueue("iso_hold", "a")
    pid = pid_of(sqlite_rig, "a")
    os.kill(nursery_of(worker), signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), "its children go with it")
    sqlite_rig.until_said("start", "a", 2)
    sqlite_rig.ledger.release("a")
    record = sqlite_rig.until(job, State.SUCCEEDED, timeout=30)
    assert (record.attempt, record.crashes) == (1, 0)
