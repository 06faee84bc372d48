"""Many processes on one file: every job once, nothing lost, nobody waits for ever."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections import Counter

import pytest

from process.rig import wait_until
from process.shop import make_app
from turnout.job import State

pytestmark = pytest.mark.process


def in_child(work) -> int:
    """Run `work` in a forked process and return its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return pid


def bury(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_several_workers_and_enqueuers_run_each_job_exactly_once(rig):
    rig.start(processes=2)
    rig.start()

    def enqueue(n: int) -> None:
        app = make_app(rig.folder, rig.url)
        for k in range(150):
            app.tasks["note"].enqueue(f"{n}.{k}")

    pids = [in_child(lambda n=n: enqueue(n)) for n in range(3)]
    assert [bury(pid) for pid in pids] == [0, 0, 0]
    wait_until(lambda: len(rig.ledger.said("note")) >= 450, "all ran", timeout=30)
    wait_until(lambda: [s.running + s.ready for s in rig.store.count()] == [0], "all settled")
    times = Counter(line[1] for line in rig.ledger.said("note"))
    assert set(times.values()) == {1}
    assert len(times) == 450
    assert rig.store.count()[0].succeeded == 450


def test_bulk_enqueues_from_threads_of_one_process(rig):
    note = rig.app.tasks["note"]
    ids: list[str] = []

    def enqueue(n: int) -> None:
        handles = rig.app.enqueue_many(note.prepare(f"{n}.{k}") for k in range(1200))
        ids.extend(handle.id for handle in handles)

    threads = [threading.Thread(target=enqueue, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 2400
    assert rig.start(until_empty=True, threads=4).wait(40) == 0
    assert rig.states(ids) == {State.SUCCEEDED: 2400}
    assert len({line[1] for line in rig.ledger.said("note")}) == 2400
    assert len(rig.ledger.said("note")) == 2400


def test_a_fork_after_the_first_enqueue_harms_neither_side(rig):
    before = rig.enqueue("note", "before")
    pid = in_child(lambda: [rig.enqueue("note", f"child{n}") for n in range(20)])
    parents = [rig.enqueue("note", f"parent{n}") for n in range(20)]
    assert bury(pid) == 0
    assert rig.store.count()[0].ready == 41
    assert rig.start(until_empty=True).wait() == 0
    assert rig.states([before, *parents]) == {State.SUCCEEDED: 21}
    assert len({line[1] for line in rig.ledger.said("note")}) == 41


def test_a_fork_while_other_threads_enqueue(rig):
    stop = threading.Event()
    counts = [0, 0]

    def enqueue(n: int) -> None:
        while not stop.is_set():
            rig.enqueue("note", f"t{n}.{counts[n]}")
            counts[n] += 1

    threads = [threading.Thread(target=enqueue, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: min(counts) > 3, "both enqueue")
    pids = [in_child(lambda n=n: rig.enqueue("note", f"child{n}")) for n in range(5)]
    codes = [bury(pid) for pid in pids]
    stop.set()
    for thread in threads:
        thread.join()
    assert codes == [0] * 5
    assert rig.store.count()[0].ready == sum(counts) + 5


def test_a_job_of_an_unknown_task_waits_for_a_worker_that_knows_it(rig):
    old = rig.start()
    job = rig.enqueue("newer", "a")
    wait_until(lambda: "not known to this worker" in old.log, "the old worker saw it")
    record = rig.until(job, State.QUEUED)
    assert (record.attempt, record.crashes) == (0, 0)
    rig.start(extra=True)
    record = rig.until(job, State.SUCCEEDED)
    assert record.attempt == 1
    assert len(rig.ledger.said("newer", "a")) == 1


def test_a_rolling_start_leaves_no_gap_and_runs_nothing_twice(rig):
    first = rig.start()
    jobs = [rig.enqueue("nap", f"{n}", 0.02) for n in range(40)]
    rig.until_said("end", "0")
    rig.start()
    assert first.stop() == 0
    for job in jobs:
        assert rig.until(job).state is State.SUCCEEDED
    assert Counter(line[1] for line in rig.ledger.said("end")) == {f"{n}": 1 for n in range(40)}


def test_pausing_a_queue_stops_new_jobs_and_resuming_lets_them_go(rig):
    rig.start()
    running = rig.enqueue("hold", "a")
    rig.until_said("start", "a")
    rig.store.pause("default", paused=True)
    paused = rig.enqueue("note", "paused")
    other = rig.enqueue("note", "other", queue="other")
    assert rig.until(other).state is State.SUCCEEDED
    rig.ledger.release("a")
    assert rig.until(running).state is State.SUCCEEDED, "what runs goes on"
    assert rig.until(paused, State.QUEUED)
    rig.store.pause("default", paused=False)
    assert rig.until(paused).state is State.SUCCEEDED


def test_a_finished_jobs_settle_does_not_wait_for_a_slow_one(rig):
    rig.start(threads=1, heartbeat=5.0, dead_after=60.0)
    rig.app.enqueue_many([rig.app.tasks["note"].prepare("q"), rig.app.tasks["hold"].prepare("s")])
    rig.until_said("start", "s")
    wait_until(lambda: rig.store.count()[0].succeeded == 1, "settled", timeout=1.0)
    rig.ledger.release("s")
    wait_until(lambda: rig.store.count()[0].succeeded == 2, "settled")


def test_what_is_leased_behind_stuck_jobs_goes_to_others(rig):
    """Jobs of a task that used to be fast hang: those leased ahead must not hang with them."""
    first = rig.start(threads=2, heartbeat=5.0, dead_after=60.0)
    note, hold = rig.app.tasks["note"], rig.app.tasks["hold"]
    for name in "abcd":
        rig.ledger.release(name)
    quick = [hold.prepare(name) for name in "abcd" for _ in range(300)]
    handles = rig.app.enqueue_many(quick)
    wait_until(lambda: rig.store.count()[0].succeeded == len(handles), timeout=30)
    held = [hold.prepare(name) for name in "xy"]
    rig.app.enqueue_many([*held, *(note.prepare("n") for _ in range(60))])
    rig.until_said("start", "x")
    rig.until_said("start", "y")
    rig.start(threads=2, heartbeat=5.0, dead_after=60.0)
    wait_until(lambda: len(rig.ledger.said("note", "n")) == 60, "none is hoarded", timeout=10)
    for name in ("x", "y"):
        rig.ledger.release(name)
    assert first.stop() == 0
