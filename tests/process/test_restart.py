"""Workers that make room for others: restarts and recycling leave no gap and lose nothing."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from process.rig import is_alive, wait_until
from turnout.job import State

pytestmark = pytest.mark.process


class Load:
    """Jobs that arrive all the time, and somebody who watches that there is always a worker."""

    def __init__(self, rig) -> None:
        self.rig = rig
        self.ids: list[str] = []
        self.idle_looks = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go)

    @contextmanager
    def going(self):
        self._thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._thread.join()

    def _go(self) -> None:
        while not self._over.wait(0.01):
            self.ids.append(self.rig.enqueue("note", f"n{len(self.ids)}"))
            taking = [one for one in self.rig.store.workers() if one.state == "running"]
            self.idle_looks += not taking

    def check(self) -> None:
        """All jobs ran, each once, and at no look was there nobody to take them."""
        for job in self.ids[-50:]:
            self.rig.until(job, State.SUCCEEDED)
        wait_until(lambda: self.rig.states(self.ids) == {State.SUCCEEDED: len(self.ids)})
        ran = Counter(line[1] for line in self.rig.ledger.said("note"))
        assert ran == {f"n{n}": 1 for n in range(len(self.ids))}
        assert self.idle_looks == 0


def test_a_rolling_restart_takes_the_new_code_and_leaves_no_gap(sqlite_rig):
    rig = sqlite_rig
    worker = rig.start_cli("--processes", "2", "--threads", "2")
    worker.until_logged("2 of 2 worker processes are at work")
    before = worker.children()
    held = rig.enqueue("hold", "long")
    rig.until_said("start", "long")
    with Load(rig).going() as load:
        wait_until(lambda: len(load.ids) > 30, "some load")
        with (rig.folder / "shop_app.py").open("a") as file:
            file.write(
                "\n@jobs.task(name='second')\ndef second():\n    print('second code', flush=True)\n"
            )
        worker.signal(signal.SIGUSR2)
        worker.until_logged("2 of 2 worker processes are at work", 2)
        seen = len(load.ids)
        wait_until(lambda: len(load.ids) > seen + 30, "more load")
    load.check()
    # One of the old ones still runs its job, and nothing else.
    wait_until(lambda: len(set(before) & set(worker.children())) == 1, "the idle one is gone")
    rig.ledger.release("long")
    assert rig.until(held, State.SUCCEEDED).attempt == 1
    wait_until(lambda: not set(before) & set(worker.children()), "the old ones are gone")
    assert len(rig.ledger.said("start", "long")) == 1
    rig.app.task(name="second")(lambda: None)
    rig.until(rig.enqueue("second"), State.SUCCEEDED)
    worker.until_logged("second code")
    wait_until(lambda: len(worker.children()) == 2, "two are left")
    assert worker.stop() == 0


def test_code_that_cannot_be_loaded_is_refused_and_the_old_goes_on(sqlite_rig):
    worker = sqlite_rig.start_cli("--threads", "2")
    worker.until_logged("1 of 1 worker processes are at work")
    before = worker.children()
    (sqlite_rig.folder / "shop_app.py").write_text("this is no Python")
    worker.signal(signal.SIGUSR2)
    worker.until_logged("no restart: the code as it is now cannot be started")
    assert worker.children() == before
    job = sqlite_rig.enqueue("note", "a")
    assert sqlite_rig.until(job).state is State.SUCCEEDED
    assert worker.stop() == 0


def test_a_term_during_a_rolling_restart_stops_old_and_new(sqlite_rig):
    worker = sqlite_rig.start_cli("--processes", "2", "--threads", "2")
    worker.until_logged("2 of 2 worker processes are at work")
    worker.signal(signal.SIGUSR2)
    worker.until_logged("makes room for another")
    worker.signal(signal.SIGTERM)
    assert worker.wait(30) == 0, worker.log
    assert sqlite_rig.store.workers() == []


def test_a_process_that_has_run_its_jobs_makes_room_and_finishes_the_long_one(sqlite_rig):
    rig = sqlite_rig
    worker = rig.start(max_jobs=20, dead_after=30.0)
    [first] = worker.children()
    held = rig.enqueue("hold", "long")
    rig.until_said("start", "long")
    with Load(rig).going() as load:
        worker.until_logged("--max-jobs 20", 3)
        assert is_alive(first), "it still runs its job"
    load.check()
    rig.ledger.release("long")
    assert rig.until(held, State.SUCCEEDED).attempt == 1
    assert rig.ledger.said("end", "long") == [["end", "long", str(first), "held"]]
    wait_until(lambda: not is_alive(first), "then it ends")
    assert worker.stop() == 0


def test_a_process_that_grew_too_large_makes_room(sqlite_rig):
    rig = sqlite_rig
    worker = rig.start(max_memory=250_000_000)
    [first] = worker.children()
    [info] = rig.store.workers()
    assert info.rss is not None
    assert 10_000_000 < info.rss < 250_000_000
    rig.until(rig.enqueue("grow", "fat", 250_000_000), State.SUCCEEDED)
    assert "MB of memory (--max-memory 250 MB)" in worker.until_logged("makes room")
    wait_until(lambda: not is_alive(first), "the large one is gone")
    assert rig.until(rig.enqueue("note", "a")).state is State.SUCCEEDED
    assert worker.stop() == 0


def test_processes_grow_old_one_after_the_other(sqlite_rig):
    worker = sqlite_rig.start(max_age=1.0, processes=2, dead_after=30.0)
    first = set(worker.children())
    fewest = 2

    def renewed() -> bool:
        nonlocal fewest
        fewest = min(fewest, sum(w.state == "running" for w in sqlite_rig.store.workers()))
        return not first & set(worker.children())

    wait_until(renewed, "both were replaced", timeout=30)
    assert fewest >= 2, "the new one before the old"
    assert worker.stop() == 0


def test_a_replaced_process_that_will_not_end_is_stopped_in_the_end(sqlite_rig):
    rig = sqlite_rig
    worker = rig.start(max_jobs=2, drain_timeout=0.5, grace=0.5, dead_after=30.0)
    [first] = worker.children()
    held = rig.enqueue("hold", "long")
    rig.until_said("start", "long")
    for n in range(2):
        rig.enqueue("note", f"{n}")
    worker.until_logged("still runs jobs; it has the grace to stop")
    wait_until(lambda: not is_alive(first), "it was stopped")
    rig.until_said("start", "long", 2)  # released, and taken by the other
    rig.ledger.release("long")
    assert rig.until(held, State.SUCCEEDED).crashes == 0
    assert worker.stop() == 0


def test_a_crash_loop_is_told_and_slowed(sqlite_rig):
    worker = sqlite_rig.start()
    for n in range(1, 6):
        wait_until(lambda: sqlite_rig.at_work(worker) == 1, "one is there", timeout=30)
        worker.signal_child(signal.SIGKILL)
        worker.until_logged("died (signal SIGKILL)", n)
    said = worker.until_logged("crash loop: 5 deaths in this place")
    pauses = [float(line.split("restarting in ")[1].split(" s")[0])
              for line in said.splitlines() if "restarting in" in line]  # fmt: skip
    assert pauses[0] == 0.0
    assert pauses[4] > pauses[1], "it is slowed"
    assert worker.stop() == 0, "also while a place waits to be filled"


def test_whoever_replaces_a_dead_worker_is_as_quiet_as_that_was(sqlite_rig):
    worker = sqlite_rig.start()
    worker.signal(signal.SIGTSTP)
    quiet = lambda: [one.state for one in sqlite_rig.store.workers()] == ["quiet"]  # noqa: E731
    wait_until(quiet, "it is quiet")
    dead = worker.signal_child(signal.SIGKILL)
    wait_until(lambda: sqlite_rig.at_work(worker) and worker.children() != [dead], "a new one")
    wait_until(quiet, "and quiet as well")
    assert worker.stop() == 0


def test_ten_running_jobs_all_finish_at_a_stop_and_none_runs_twice(sqlite_rig):
    rig = sqlite_rig
    worker = rig.start(threads=10, dead_after=30.0)
    jobs = [rig.enqueue("nap", f"{n}", 1.0) for n in range(10)]
    wait_until(lambda: len(rig.ledger.said("start")) == 10, "all run")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert rig.states(jobs) == {State.SUCCEEDED: 10}
    assert Counter(line[1] for line in rig.ledger.said("start")) == {f"{n}": 1 for n in range(10)}


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()[1:]


def _connections(pid: int) -> set[str]:
    """Return what a process holds of a store: its TCP sockets, its files."""
    held = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            held.add(str(entry.readlink()))
    lines = [line for name in ("tcp", "tcp6") for line in _lines(f"/proc/net/{name}")]
    places = {f"socket:[{line.split()[9]}]" for line in lines}
    return {one for one in held if one in places or "jobs.db" in one}


def test_nothing_of_the_store_is_open_in_the_parent_or_shared_with_it(rig):
    worker = rig.start(preload=True, processes=2)
    wait_until(lambda: not _connections(worker.pid), "the parent has no connection")
    wait_until(
        lambda: all(_connections(pid) for pid in worker.children()), "each child has its own"
    )
    one, other = (_connections(pid) for pid in worker.children())
    assert not {name for name in one & other if name.startswith("socket")}
    os.kill(worker.children()[0], signal.SIGKILL)
    worker.until_logged("signal SIGKILL")
    wait_until(lambda: rig.at_work(worker) == 2, "a new one is there")
    wait_until(lambda: not _connections(worker.pid), "the parent let go of the store again")
    assert rig.until(rig.enqueue("note", "a")).state is State.SUCCEEDED
