"""`turnout chaos`, for real: it starts workers, breaks them, and says what became of every job."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from process.rig import wait_until
from turnout import Turnout
from turnout.job import JobFilter, State, WorkerInfo

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

APP = """
from turnout import Turnout

jobs = Turnout("sqlite:///staging.db")

@jobs.task
def own(n: int) -> None: ...
"""
COMMAND = [sys.executable, "-m", "turnout", "chaos", "shopfloor"]
STAGING = [*COMMAND, "--yes-this-is-staging", "--minutes", "0.1", "--every", "1", "--lease", "2"]


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shopfloor.py").write_text(APP)
    app = Turnout(f"sqlite:///{tmp_path / 'staging.db'}")
    app.store.setup()
    yield app.store
    app.close()


def start(*options):
    return subprocess.Popen(
        [*STAGING, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_workers_are_broken_and_nothing_is_lost(store):
    run = start("--json", "--seed", "3", "--faults", "kill,terminate,host")
    said, complaints = run.communicate(timeout=100)
    assert run.returncode == 0, said + complaints
    report = json.loads(said)
    assert set(report["faults"]) == {"kill", "terminate", "host"}
    assert report["probes"] > 10
    assert (report["lost"], report["stuck"], report["unexplained"]) == ([], [], [])
    stats = {one.queue: one for one in store.count()}["turnout.chaos"]
    assert (stats.succeeded + stats.dead, stats.ready, stats.running) == (report["probes"], 0, 0)
    assert store.workers() == []


def test_a_job_that_is_gone_is_told(store):
    run = start("--faults", "terminate")
    done = JobFilter(states=(State.SUCCEEDED,))
    wait_until(lambda: store.find(done, limit=1), "a probe ended", timeout=60)
    [gone] = store.find(done, limit=1)
    assert store.change(JobFilter(ids=(gone.id,)), "delete") == 1
    said, complaints = run.communicate(timeout=100)
    assert run.returncode == 1, said + complaints
    assert f"lost: 1\n  {gone.id}\n" in said
    assert said.endswith("something is wrong\n")
    assert "the logs and the ledger of this run are in" in complaints


def refused(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def test_it_needs_a_word_that_this_is_staging(store):
    code, complaint = refused(COMMAND)
    assert code == 2
    assert "--yes-this-is-staging" in complaint
    assert store.count() == []


def test_it_uses_no_store_where_others_work(store):
    worker = WorkerInfo(
        epoch="e1", name="web1:7:x", host="web1", pid=7, queues=(), concurrency=1, started_at=0.0
    )
    store.heartbeat(worker, ttl=60.0)
    code, complaint = refused(STAGING)
    assert code == 1
    assert "web1:7:x works on this store" in complaint
    assert store.count() == []


def test_an_unknown_fault_is_refused(store):
    code, complaint = refused([*STAGING, "--faults", "kill,flood"])
    assert code == 2
    assert "got 'kill,flood'" in complaint
    assert store.count() == []
