"""The server fails under real worker processes: they come back by themselves, and lose nothing."""

from __future__ import annotations

import os
import time
from urllib.parse import urlsplit

import psycopg
import pytest

from process.rig import Rig, wait_until
from support.proxy import Proxy
from turnout.errors import StoreError
from turnout.job import State

pytestmark = pytest.mark.process

SOON = 5.0  # seconds from the server's return to the next job's run


@pytest.fixture
def rig(mortal, tmp_path):
    made = Rig(tmp_path, f"{mortal.url}?schema=rig_{os.getpid()}_{time.monotonic_ns()}")
    yield made
    made.close()


def enqueue(rig: Rig, task: str, name: str) -> str | None:
    """Record a job as a web request would that is tried again by its user."""
    try:
        return rig.enqueue(task, name)
    except StoreError:
        return None


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_restart_under_load_costs_no_job(mortal, rig, how):
    worker = rig.start(processes=2, dead_after=30.0)
    ids = [rig.enqueue("note", f"before-{n}") for n in range(300)]
    rig.until_said("note", "before-20")
    mortal.stop(how)
    mortal.start()
    wait_until(lambda: enqueue(rig, "note", "after"), "an enqueue works", timeout=SOON)
    rig.until_said("note", "after", timeout=SOON)
    ids += [rig.enqueue("note", f"later-{n}") for n in range(50)]
    wait_until(lambda: rig.states(ids) == {State.SUCCEEDED: 350}, "all are done")
    assert len(worker.children()) == 2
    assert worker.stop() == 0
    assert "Traceback" not in worker.log


def test_workers_at_rest_hear_again_after_a_long_outage(mortal, rig):
    worker = rig.start()
    pids = worker.children()
    rig.enqueue("note", "first")
    rig.until_said("note", "first")
    mortal.stop("fast")
    wait_until(lambda: worker.log.count("the store failed") >= 3 or "heartbeat" in worker.log)
    mortal.start()
    wait_until(lambda: enqueue(rig, "note", "second"), "an enqueue works", timeout=SOON)
    rig.until_said("note", "second", timeout=SOON)
    assert worker.children() == pids, "no worker had to be replaced"


def test_killed_sessions_cost_nothing(mortal, rig):
    rig.start(dead_after=30.0)
    ids = [rig.enqueue("nap", f"n{n}", 0.02) for n in range(40)]
    for n in (5, 15, 25):
        rig.until_said("end", f"n{n}")
        with psycopg.connect(mortal.url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'turnout' AND pid <> pg_backend_pid()"
            )
    wait_until(lambda: settled(rig, ids) == len(ids), "all are done")
    assert {n: len(rig.ledger.said("end", f"n{n}")) for n in range(40)} == dict.fromkeys(
        range(40), 1
    ), "each ran once"


def settled(rig: Rig, ids: list[str]) -> int:
    try:
        return rig.states(ids).get(State.SUCCEEDED, 0)
    except StoreError:
        return 0


def test_a_failover_to_a_server_that_is_read_only_for_a_while(mortal, rig):
    worker = rig.start(dead_after=30.0)
    held = rig.enqueue("hold", "a")
    rig.until_said("start", "a")
    mortal.stop("fast")
    mortal.start("default_transaction_read_only=on")
    rig.ledger.release("a")
    rig.until_said("end", "a")
    wait_until(lambda: "read-only" in worker.log, "the worker says why")
    mortal.stop("fast")
    mortal.start()
    wait_until(lambda: enqueue(rig, "note", "after"), "an enqueue works", timeout=SOON)
    assert rig.until(held, timeout=SOON).state is State.SUCCEEDED
    assert len(rig.ledger.said("start", "a")) == 1


@pytest.fixture
def proxy(mortal):
    made = Proxy(mortal.url)
    yield made
    made.close()


def test_a_network_that_swallows_everything_for_a_while(rig, proxy):
    rig.start(url=f"{proxy.url}?{urlsplit(rig.url).query}", dead_after=30.0)
    rig.enqueue("note", "first")
    rig.until_said("note", "first")
    proxy.go_silent()
    rig.enqueue("note", "second")
    proxy.come_back()
    rig.until_said("note", "second", timeout=SOON)
