"""Limits over several processes: never exceeded, healed after a kill, kept while a worker lives."""

from __future__ import annotations

import os
import random
import signal

import pytest

from process.rig import is_stopped, wait_until
from turnout import concurrency
from turnout.job import JobFilter, State
from turnout.limits import Mark

pytestmark = pytest.mark.process
JOBS = 150


def most_at_once(lines: list[list[str]]) -> int:
    """Replay the ledger: how many ran at once, where a kill ends what its process ran."""
    running: set[tuple[str, str]] = set()
    most = 0
    for line in lines:
        if line[0] == "killed":
            running = {one for one in running if one[1] != line[1]}
        elif line[1] == "slot" and line[0] == "start":
            running.add((line[2], line[3]))
            most = max(most, len(running))
        elif line[1] == "slot":
            running.discard((line[2], line[3]))
    return most


def test_a_limit_is_never_exceeded_while_workers_are_killed(rig):
    worker = rig.start(processes=2, threads=8)
    slot = rig.app.tasks["slot"]
    jobs = [job.id for job in rig.app.enqueue_many(slot.prepare(str(n)) for n in range(JOBS))]
    rng = random.Random(7)
    for share in (0.2, 0.5):
        ended = JOBS * share
        wait_until(lambda ended=ended: len(rig.ledger.said("end", "slot")) > ended, timeout=60)
        victim = rng.choice(wait_until(worker.children))
        # Stopped first: the ledger must know of the death before others run its jobs.
        os.kill(victim, signal.SIGSTOP)
        wait_until(lambda victim=victim: is_stopped(victim))
        rig.ledger.write("killed", victim)
        os.kill(victim, signal.SIGKILL)
    where = JobFilter(states=(State.SUCCEEDED,), task="slot")
    wait_until(lambda: len(rig.store.find(where, limit=JOBS)) == JOBS, timeout=90)
    assert most_at_once(rig.ledger.lines()) == 3
    records = [rig.record(job) for job in jobs]
    assert {record.attempt for record in records} == {1}, "a deferral burns no attempt"


def test_a_slow_job_keeps_its_slot_while_its_worker_lives(rig):
    rig.start(threads=4)
    rig.enqueue("alone", "a")
    rig.until_said("start", "a")
    look = [Mark(key=concurrency("alone", 1).name, owner="nobody", ttl=1, most=1)]
    [first] = rig.store.mark(look)
    rig.enqueue("alone", "b")
    # Renewed until long after it would have expired, had it not been.
    wait_until(lambda: (rig.store.mark(look)[0].until or 0) > first.until + 3, timeout=30)
    assert rig.ledger.said("start", "b") == []
    rig.ledger.release("a")
    rig.until_said("start", "b")
    rig.ledger.release("b")


def test_the_slot_of_a_killed_holder_is_free_within_its_lease(rig):
    worker = rig.start(processes=1)
    rig.enqueue("alone", "a")
    rig.until_said("start", "a")
    worker.kill_all()
    rig.enqueue("alone", "b")
    rig.start()
    for name in "ab":
        rig.ledger.release(name)
    rig.until_said("end", "a", timeout=20)
    rig.until_said("end", "b", timeout=20)
