"""Workers that are killed without warning: their jobs run again, once, and nobody is blamed."""

from __future__ import annotations

import os
import signal
import time

import pytest

from process.rig import is_alive, wait_until
from turnout.job import State

pytestmark = pytest.mark.process


def test_a_killed_workers_job_runs_again_at_once_without_burning_an_attempt(rig):
    worker = rig.start(heartbeat=5.0, dead_after=60.0)
    job = rig.enqueue("hold", "a")
    rig.until_said("start", "a")
    killed = worker.signal_child(signal.SIGKILL)
    began = time.monotonic()
    rig.until_said("start", "a", 2)
    # Far below dead_after: the supervisor saw its child die, nobody waited for a heartbeat.
    assert time.monotonic() - began < 5
    rig.ledger.release("a")
    record = rig.until(job, State.SUCCEEDED)
    assert (record.attempt, record.crashes) == (1, 1)
    assert [line[3] for line in rig.ledger.said("start", "a")] == ["1", "1"]
    assert len(rig.ledger.said("end", "a")) == 1
    assert [entry.outcome for entry in record.attempts] == ["crashed"]
    assert worker.children() != [killed]


def test_jobs_of_a_wholly_killed_worker_are_taken_over_at_once_by_the_next(rig):
    first = rig.start(heartbeat=5.0, dead_after=300.0)
    jobs = [rig.enqueue("hold", name) for name in "ab"]
    for name in "ab":
        rig.until_said("start", name)
    first.kill_all()
    began = time.monotonic()
    rig.start(heartbeat=5.0, dead_after=300.0)
    for name in "ab":
        rig.until_said("start", name, 2)
    # Their epoch is good for 300 s more, but their pids are dead on this very machine.
    assert time.monotonic() - began < 5
    for name in "ab":
        rig.ledger.release(name)
    for job in jobs:
        record = rig.until(job, State.SUCCEEDED)
        assert (record.attempt, record.crashes) == (1, 1)


def test_children_of_a_killed_supervisor_finish_their_job_and_end(rig):
    worker = rig.start()
    job = rig.enqueue("hold", "a")
    rig.until_said("start", "a")
    [child] = worker.children()
    worker.process.kill()
    worker.process.wait(10)
    rig.until_said("stopping", "a")
    assert is_alive(child)
    rig.ledger.release("a")
    wait_until(lambda: not is_alive(child), "the orphan has ended")
    record = rig.until(job, State.SUCCEEDED)
    assert (record.attempt, record.crashes) == (1, 0)
    assert rig.store.workers() == []


@pytest.mark.parametrize("way", ["exit3", "exit0", "segfault"])
def test_a_job_that_ends_its_process_is_a_crash_and_the_worker_comes_back(rig, way):
    rig.start(heartbeat=5.0, dead_after=60.0)
    bad = rig.enqueue("die", "bad", way, 1)
    good = rig.enqueue("note", "good")
    record = rig.until(bad, State.SUCCEEDED)
    assert (record.attempt, record.crashes) == (1, 1)
    assert rig.until(good).state is State.SUCCEEDED


def test_a_job_that_kills_its_worker_three_times_is_dead_as_poison_with_the_evidence(rig):
    rig.start()
    bad = rig.enqueue("die", "bad", "exit3")
    good = [rig.enqueue("note", f"good{n}") for n in range(5)]
    record = rig.until(bad, State.DEAD, timeout=30)
    assert (record.attempt, record.crashes) == (0, 3)
    assert [entry.outcome for entry in record.attempts] == ["crashed"] * 3
    assert "3 times" in (record.reason or "")
    assert all("exit code 3" in (entry.message or "") for entry in record.attempts)
    assert len(rig.ledger.said("start", "bad")) == 3
    for job in good:
        assert rig.until(job, timeout=30).state is State.SUCCEEDED


@pytest.mark.parametrize("way", ["sys.exit", "interrupt", "recursion"])
def test_an_exit_or_a_recursion_in_a_job_fails_that_attempt_alone(rig, way):
    worker = rig.start()
    [pid] = worker.children()
    bad = rig.enqueue("die", "bad", way)
    record = rig.until(bad, State.DEAD)
    assert (record.attempt, record.crashes) == (2, 0)
    assert [entry.outcome for entry in record.attempts] == ["retried", "dead"]
    names = {"sys.exit": "SystemExit", "interrupt": "KeyboardInterrupt"}
    assert record.error == names.get(way, "RecursionError")
    good = rig.enqueue("note", "good")
    assert rig.until(good).state is State.SUCCEEDED
    assert worker.children() == [pid], "the worker lives on"


def test_an_exit_in_an_async_job_fails_that_job_alone(rig):
    worker = rig.start()
    [pid] = worker.children()
    bad = rig.enqueue("adie", "bad")
    assert rig.until(bad, State.DEAD).error == "SystemExit"
    rig.ledger.release("good")
    good = rig.enqueue("ahold", "good")
    assert rig.until(good).state is State.SUCCEEDED
    assert worker.children() == [pid]


def test_nothing_is_lost_when_enqueuing_processes_are_killed(rig):
    pids, pipes = [], []
    for n in range(2):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            while True:  # until it is killed: an id is told only after its enqueue returned
                job = rig.enqueue("note", f"{n}")
                os.write(writer, f"{job}\n".encode())
        os.close(writer)
        pids.append(pid)
        pipes.append(reader)
    told = [os.read(reader, 65536) for reader in pipes]
    wait_until(lambda: sum(stats.ready for stats in rig.store.count()) >= 60, "some jobs")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    ids: list[str] = []
    for first, reader in zip(told, pipes, strict=True):
        text = first
        while part := os.read(reader, 65536):
            text += part
        os.close(reader)
        ids += [line for line in text.decode().splitlines() if len(line) == 36]
    assert len(ids) >= 50
    assert rig.states(ids) == {State.QUEUED: len(ids)}
    total = sum(stats.ready for stats in rig.store.count())
    rig.start(until_empty=True, threads=10)
    assert rig.workers[0].wait() == 0
    assert rig.states(ids) == {State.SUCCEEDED: len(ids)}
    assert len(rig.ledger.said("note")) == total
