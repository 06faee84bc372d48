"""The store goes away for a while: workers wait, say so, and go on; nothing is lost."""

from __future__ import annotations

import resource
import sqlite3
import threading

import pytest

from turnout.errors import StoreBusy
from turnout.job import State
from turnout.store.sqlite import busy

pytestmark = pytest.mark.process


def test_a_worker_outlives_a_locked_file(sqlite_rig):
    worker = sqlite_rig.start()
    [pid] = worker.children()
    job = sqlite_rig.enqueue("hold", "a")
    sqlite_rig.until_said("start", "a")
    other = sqlite3.connect(sqlite_rig.folder / "jobs.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    late: list[str] = []
    thread = threading.Thread(target=lambda: late.append(sqlite_rig.enqueue("note", "late")))
    thread.start()
    sqlite_rig.ledger.release("a")
    sqlite_rig.until_said("end", "a")
    thread.join(2.0)  # the lock is held this long
    assert thread.is_alive(), "the enqueue waits for the lock"
    assert sqlite_rig.until(job, State.RUNNING)
    other.execute("COMMIT")
    other.close()
    thread.join(10)
    assert sqlite_rig.until(late[0]).state is State.SUCCEEDED
    record = sqlite_rig.until(job, State.SUCCEEDED)
    assert len(sqlite_rig.ledger.said("start", "a")) == 1 + record.crashes
    assert worker.children() == [pid], "the worker lives on"
    assert "Traceback" not in worker.log


def test_an_enqueue_gives_up_on_a_lock_that_stays_and_has_recorded_nothing(sqlite_rig, monkeypatch):
    monkeypatch.setattr(busy.retried, "__defaults__", (0.2,))
    other = sqlite3.connect(sqlite_rig.folder / "jobs.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreBusy, match="locked"):
        sqlite_rig.enqueue("note", "a")
    other.execute("COMMIT")
    other.close()
    assert sqlite_rig.store.count() == []


def test_a_worker_outlives_a_file_that_cannot_be_written(sqlite_rig):
    worker = sqlite_rig.start(heartbeat=0.2, dead_after=30.0)
    [pid] = worker.children()
    job = sqlite_rig.enqueue("mute", "a")
    sqlite_rig.until_said("start", "a")
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    # Every write of this process fails from here on, as on a disk that is gone.
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    sqlite_rig.ledger.release("a")
    late = sqlite_rig.enqueue("mute", "late")
    failing = sqlite_rig.enqueue("note", "failing")
    # The log cannot be written either: what shows is that nothing is settled meanwhile.
    threading.Event().wait(1.5)
    assert sqlite_rig.until(job, State.RUNNING)
    assert sqlite_rig.until(late, State.QUEUED)
    assert sqlite_rig.until(failing, State.QUEUED)
    sqlite_rig.ledger.release("late")
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    assert sqlite_rig.until(job).state is State.SUCCEEDED
    assert sqlite_rig.until(late).state is State.SUCCEEDED
    assert len(sqlite_rig.ledger.said("start", "a")) == 1
    assert worker.children() == [pid]
