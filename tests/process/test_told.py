"""What others see of a supervisor and tell its workers: probes, systemd, orders from the store."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from process.rig import wait_until
from support.ports import free_port
from turnout import stacks
from turnout.job import State

pytestmark = pytest.mark.process


class Probe:
    """Asks for the health pages, over real HTTP."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, page: str) -> tuple[int, dict]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{page}", timeout=10) as got:
                return got.status, json.load(got)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def until(self, page: str, code: int) -> dict:
        told: dict = {}

        def there() -> bool:
            nonlocal told
            try:
                got, told = self(page)
            except OSError:
                return False
            return got == code

        wait_until(there, f"{page} says {code}", timeout=30)
        return told


def test_probes_tell_live_ready_and_draining(sqlite_rig):
    rig, port = sqlite_rig, free_port()
    worker = rig.launch(health=f"127.0.0.1:{port}", stuck_after=2.0, dead_after=30.0)
    probe = Probe(port)
    assert probe.until("/ready", 200)["workers"] == 1
    assert probe("/live") == (200, {"live": True, "faults": []})
    job = rig.enqueue("hold", "a")
    rig.until_said("start", "a")
    wait_until(lambda: probe("/status")[1]["workers"][0]["running"] == 1, "the job is seen")
    wait_until(lambda: probe("/status")[1]["state"] == "running", "the supervisor has looked")
    [seen] = probe("/status")[1]["workers"]
    assert seen["state"] == "running"
    assert seen["rss"] > 10_000_000
    assert probe("/nowhere")[0] == 404

    os.kill(seen["pid"], signal.SIGSTOP)  # as a task that never lets go of the GIL would
    faults = probe.until("/live", 503)["faults"]
    assert f"worker {seen['pid']} has not turned" in faults[0]
    assert probe("/ready")[0] == 503
    worker.until_logged("has not turned for")
    os.kill(seen["pid"], signal.SIGCONT)
    probe.until("/live", 200)

    worker.signal(signal.SIGTERM)
    wait_until(lambda: probe("/ready")[1]["state"] == "draining", "the supervisor has looked")
    assert probe("/ready")[0] == 503
    assert probe("/live")[0] == 200, "a pod that drains must not be killed"
    rig.ledger.release("a")
    assert worker.wait() == 0
    assert rig.until(job).state is State.SUCCEEDED
    with pytest.raises(OSError, match=r"[Rr]efused"):
        probe("/live")


def test_probes_are_answered_through_a_restart_at_a_path_too(sqlite_rig):
    rig = sqlite_rig
    path = rig.folder / "health.sock"
    worker = rig.start_cli("--health", str(path), "--threads", "2")
    over = threading.Event()

    def ask() -> int:
        with closing(http.client.HTTPConnection("localhost", timeout=10)) as line:
            line.sock = socket.socket(socket.AF_UNIX)
            line.sock.connect(str(path))
            line.request("GET", "/ready")
            return line.getresponse().status

    def ask_on() -> list[int]:
        codes = []
        while not over.is_set():
            codes.append(ask())
        return codes

    wait_until(lambda: path.exists() and ask() == 200, "ready")
    with ThreadPoolExecutor(4) as crowd:
        asked = [crowd.submit(ask_on) for _ in range(4)]
        try:
            worker.signal(signal.SIGUSR2)
            started = "worker processes are at work"
            wait_until(lambda: worker.log.count(started) == 2, timeout=30)
        finally:
            over.set()
    assert {code for one in asked for code in one.result()} == {200}, "no probe failed meanwhile"
    assert worker.stop() == 0


def test_a_place_for_probes_that_cannot_be_had_is_refused_at_once(sqlite_rig):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        worker = sqlite_rig.start_cli("--health", where)
        assert worker.wait() == 1
    assert f"health probes cannot be answered at {where}" in worker.log


class Systemd:
    """The socket of a service manager."""

    def __init__(self, path) -> None:
        self.heard: list[str] = []
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._line.bind(str(path))
        self._line.settimeout(0.01)

    def _listen(self) -> None:
        try:
            while True:
                self.heard.append(self._line.recv(4096).decode())
        except TimeoutError:
            return

    def until(self, words: str) -> str:
        """Forget what was heard before this message, and return it."""

        def there() -> str | None:
            self._listen()
            return next((one for one in self.heard if words in one), None)

        found = wait_until(there, f"{words} in {self.heard}", timeout=30)
        del self.heard[: self.heard.index(found) + 1]
        return found

    def close(self) -> None:
        self._line.close()


def test_systemd_is_told(sqlite_rig):
    rig = sqlite_rig
    systemd = Systemd(rig.folder / "notify")
    rig.env = {"NOTIFY_SOCKET": str(rig.folder / "notify"), "WATCHDOG_USEC": "200000"}
    worker = rig.start_cli("--threads", "2")
    systemd.until("READY=1")
    systemd.until("STATUS=running: 1 of 1 workers at work")
    systemd.until("WATCHDOG=1")
    worker.signal(signal.SIGUSR2)
    assert "MONOTONIC_USEC=" in systemd.until("RELOADING=1")
    systemd.until("READY=1")
    wait_until(lambda: len(worker.children()) == 1, "the old one is gone")
    systemd.until("WATCHDOG=1")
    assert not [one for one in systemd.heard if "STOPPING" in one]
    worker.signal(signal.SIGTERM)
    systemd.until("STOPPING=1")
    assert worker.wait() == 0
    systemd.close()


def test_the_watchdog_is_not_fed_while_a_main_loop_is_stuck(sqlite_rig):
    rig = sqlite_rig
    systemd = Systemd(rig.folder / "notify")
    rig.env = {"NOTIFY_SOCKET": str(rig.folder / "notify"), "WATCHDOG_USEC": "200000"}
    worker = rig.start(stuck_after=2.0, dead_after=30.0)
    systemd.until("WATCHDOG=1")
    [child] = worker.children()
    os.kill(child, signal.SIGSTOP)
    worker.until_logged("has not turned for")
    systemd.until("WATCHDOG=1")  # the last that was sent before
    os.kill(child, signal.SIGCONT)
    systemd.until("WATCHDOG=1")
    assert worker.stop() == 0
    systemd.close()


def test_orders_from_the_store_reach_the_worker(rig):
    worker = rig.start(dead_after=30.0)
    job = rig.enqueue("hold", "a")
    rig.until_said("start", "a")
    [info] = rig.store.workers()
    assert rig.store.order(info.epoch, "dump")
    wait_until(lambda: "in hold" in worker.log, "the stacks")
    rig.store.order(info.epoch, "quiet")
    wait_until(lambda: [one.state for one in rig.store.workers()] == ["quiet"], "it is quiet")
    late = rig.enqueue("note", "late")
    rig.store.order(info.epoch, "stop")
    rig.until_said("stopping", "a")
    rig.ledger.release("a")
    assert worker.wait() == 0
    assert rig.until(job).state is State.SUCCEEDED
    assert rig.until(late, State.QUEUED)
    assert rig.store.workers() == []


@pytest.mark.parametrize("task", ["note", "ahold"])
def test_redelivered_jobs_run_twice_and_count_once(sqlite_rig, task):
    rig = sqlite_rig
    rig.env = {"TURNOUT_ENV": "staging"}
    rig.start(redeliver=1.0)
    rig.ledger.release("a")
    job = rig.enqueue(task, "a")
    record = rig.until(job, State.SUCCEEDED)
    assert (record.attempt, record.crashes) == (1, 0)
    assert len(rig.ledger.said("note" if task == "note" else "end", "a")) == 2
    assert f"job {job} ({task}) ran twice and succeeded twice" in rig.workers[0].log


def test_a_job_that_cannot_run_twice_is_found(sqlite_rig):
    rig = sqlite_rig
    rig.env = {"TURNOUT_ENV": "staging"}
    worker = rig.start(redeliver=1.0)
    record = rig.until(rig.enqueue("brittle", "a"), State.DEAD)
    assert record.attempt == 1
    assert [line[2] for line in rig.ledger.said("brittle", "a")] == ["1", "1"]
    said = "is not idempotent: it succeeded, and raised FileExistsError when it was run again"
    assert said in worker.log
    assert "transactional tasks are never run twice" in worker.log


def test_redelivery_is_refused_where_production_may_be(sqlite_rig):
    for named in ({}, {"TURNOUT_ENV": "production"}):
        sqlite_rig.env = {"TURNOUT_ENV": "", **named}
        worker = sqlite_rig.start_cli("--redeliver", "0.02")
        assert worker.wait() == 1
        assert "set TURNOUT_ENV=staging" in worker.log
    worker = sqlite_rig.start_cli("--redeliver", "0.02", "--redeliver-in-production")
    worker.until_logged("2 % of the jobs that succeed are run twice on purpose")
    assert worker.stop() == 0


def test_an_order_brings_the_stacks_of_running_jobs(rig):
    """Of one in a thread, of a coroutine that waits, and of both in child processes."""
    rig.start(dead_after=30.0, children=2)
    kinds = {"hold": "_steady", "ahold": "_asynchronous"}
    kinds |= dict.fromkeys(("iso_hold", "iso_ahold"), "_isolated")
    jobs = {name: rig.enqueue(name, name) for name in kinds}
    for name in jobs:
        rig.until_said("start", name)
    [info] = rig.store.workers()
    assert rig.store.order(info.epoch, "dump")
    told = wait_until(lambda: stacks.read(rig.store, info.epoch), "the stacks", timeout=30)
    texts = {stack.job: stack.text for stack in told.stacks}
    assert set(texts) == set(jobs.values())
    for name, maker in kinds.items():
        assert f"in {maker}.<locals>.{name}\n" in texts[jobs[name]]
    assert "attempt.py" not in "".join(texts.values())
    for name, job_id in jobs.items():
        rig.ledger.release(name)
        rig.until(job_id, State.SUCCEEDED)


def test_a_child_that_cannot_tell_where_it_stands_is_not_waited_for(sqlite_rig):
    sqlite_rig.start(dead_after=30.0, children=1)
    job = sqlite_rig.enqueue("iso_nap", "a", 3.0)
    sqlite_rig.until_said("start", "a")
    [(*_, pid)] = sqlite_rig.ledger.said("start", "a")
    os.kill(int(pid), signal.SIGSTOP)
    [info] = sqlite_rig.store.workers()
    assert sqlite_rig.store.order(info.epoch, "dump")
    told = wait_until(lambda: stacks.read(sqlite_rig.store, info.epoch), "the stacks", timeout=30)
    assert [(stack.job, stack.text) for stack in told.stacks] == [(job, "")]
    os.kill(int(pid), signal.SIGCONT)
    sqlite_rig.until(job, State.SUCCEEDED)
