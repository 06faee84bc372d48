"""The store goes away for a while: workers wait, say so, and go on; nothing is lost."""

from __future__ import annotations

import resource
import sqlite3
import threading

import pytest

from turnout.errors import StoreBusy
from turnout.job import State
from turnout.store.sqlite import connection as sqlite_connection

pytestmark = pytest.mark.process


def test_a_worker_outlives_a_locked_file(rig):
    worker = rig.start()
    [pid] = worker.children()
    job = rig.enqueue("hold", "a")
    rig.until_said("start", "a")
    other = sqlite3.connect(rig.folder / "jobs.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    late: list[str] = []
    thread = threading.Thread(target=lambda: late.append(rig.enqueue("note", "late")))
    thread.start()
    rig.ledger.release("a")
    rig.until_said("end", "a")
    thread.join(2.0)  # the lock is held this long
    assert thread.is_alive(), "the enqueue waits for the lock"
    assert rig.until(job, State.RUNNING)
    other.execute("COMMIT")
    other.close()
    thread.join(10)
    assert rig.until(late[0]).state is State.SUCCEEDED
    record = rig.until(job, State.SUCCEEDED)
    assert len(rig.ledger.said("start", "a")) == 1 + record.crashes
    assert worker.children() == [pid], "the worker lives on"
    assert "Traceback" not in worker.log


def test_an_enqueue_gives_up_on_a_lock_that_stays_and_has_recorded_nothing(rig, monkeypatch):
    monkeypatch.setattr(sqlite_connection.retried, "__defaults__", (0.2,))
    other = sqlite3.connect(rig.folder / "jobs.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreBusy, match="locked"):
        rig.enqueue("note", "a")
    other.execute("COMMIT")
    other.close()
    assert rig.store.count() == []


def test_a_worker_outlives_a_file_that_cannot_be_written(rig):
    worker = rig.start(heartbeat=0.2, dead_after=30.0)
    [pid] = worker.children()
    job = rig.enqueue("mute", "a")
    rig.until_said("start", "a")
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    # Every write of this process fails from here on, as on a disk that is gone.
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    rig.ledger.release("a")
    late = rig.enqueue("mute", "late")
    failing = rig.enqueue("note", "failing")
    # The log cannot be written either: what shows is that nothing is settled meanwhile.
    threading.Event().wait(1.5)
    assert rig.until(job, State.RUNNING)
    assert rig.until(late, State.QUEUED)
    assert rig.until(failing, State.QUEUED)
    rig.ledger.release("late")
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    assert rig.until(job).state is State.SUCCEEDED
    assert rig.until(late).state is State.SUCCEEDED
    assert len(rig.ledger.said("start", "a")) == 1
    assert worker.children() == [pid]
