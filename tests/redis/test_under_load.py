"""The server is killed while many enqueue and workers run: what it acknowledged comes back."""

from __future__ import annotations

import threading
import time

import pytest

from process.rig import Rig, wait_until
from turnout.errors import StoreUnavailable
from turnout.job import JobFilter, State

pytestmark = pytest.mark.process
KILLS, BATCH = 2, 10
FORGOTTEN = 2.5  # seconds of which `everysec` may forget what no write to the file carries yet


class Caller:
    """Enqueues as fast as the server takes it, and remembers what was accepted, and when."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.accepted: dict[str, tuple[float, float]] = {}  # asked and answered, for each job
        self.refused = 0
        self._thread.start()

    def _run(self) -> None:
        note = self._rig.app.tasks["note"]
        for n in range(1_000):
            jobs = [note.prepare(f"{n}-{m}") for m in range(BATCH)]
            asked = time.monotonic()
            try:
                recorded = self._rig.app.enqueue_many(jobs)
            except StoreUnavailable:
                self.refused += 1
            else:
                when = (asked, time.monotonic())
                self.accepted.update((job.id, when) for job in recorded)
            if self._over.wait(0.01):
                return

    def stop(self) -> None:
        self._over.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_a_server_killed_under_load_keeps_what_it_promised(mortal, tmp_path, fsync):
    server = mortal("--appendonly", "yes", "--appendfsync", fsync)
    rig = Rig(tmp_path, server.url)
    caller, kills = Caller(rig), []
    try:
        rig.start(processes=2, threads=4)
        for n in range(KILLS):
            enough = (n + 1) * 20 * BATCH
            wait_until(lambda enough=enough: len(caller.accepted) > enough, timeout=30)
            began = time.monotonic()
            server.kill()
            kills.append((began, time.monotonic()))
            server.start()
            refused = len(caller.accepted)
            wait_until(lambda refused=refused: len(caller.accepted) > refused, timeout=30)
        caller.stop()
        wait_until(lambda: is_drained(rig), "all is done", timeout=60)
        lost = [job for job in caller.accepted if not succeeded(rig, job)]
        if fsync == "always":
            assert lost == []
        late = [job for job in lost if not is_explained(caller.accepted[job], kills)]
        assert late == [], "older than the last seconds before a kill"
        assert len(lost) < len(caller.accepted) / 2
    finally:
        caller.stop()
        rig.close()


def is_explained(accepted: tuple[float, float], kills: list[tuple[float, float]]) -> bool:
    """Tell whether a kill came soon after a job was accepted, as far as our clock can tell."""
    asked, answered = accepted
    return any(asked <= end and began - answered < FORGOTTEN for began, end in kills)


def is_drained(rig: Rig) -> bool:
    return not any(one.ready or one.running or one.scheduled for one in rig.store.count())


def succeeded(rig: Rig, job: str) -> bool:
    found = rig.store.find(JobFilter(ids=(job,)), limit=1)
    return bool(found) and found[0].state is State.SUCCEEDED


def test_a_server_that_is_slow_for_less_than_a_lease_makes_no_job_run_twice(mortal, tmp_path):
    server = mortal("--enable-debug-command", "local")
    rig = Rig(tmp_path, server.url)
    try:
        rig.start(processes=2, threads=4, dead_after=20.0)
        jobs = [rig.enqueue("nap", f"job{n}", 0.02) for n in range(60)]
        with rig.store._lend() as link:
            for _ in range(3):
                link.run("DEBUG", "SLEEP", "0.5")  # nobody is answered for so long
        for job in jobs:
            rig.until(job, State.SUCCEEDED, timeout=30)
        assert len(rig.ledger.said("end")) == len(jobs)
    finally:
        rig.close()
