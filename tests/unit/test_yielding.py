"""Queues that give way to more urgent ones, to stress and to outages, and come back by and by."""

from __future__ import annotations

import logging
import threading

import pytest

from process.rig import wait_until
from turnout import ConfigError, pressure
from turnout.cli.status import look, worker_lines
from turnout.web.pulse import Look
from turnout.web.why import explain
from turnout.worker import yielding
from turnout.worker.options import WorkerOptions, parse_queues
from turnout.worker.process import WorkerProcess, run_in_thread

SLOTS = 4
_unrun: list[WorkerProcess] = []


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(yielding, "EVERY", 0.02)
    monkeypatch.setattr(pressure, "EVERY", 0.01)
    yield
    while _unrun:
        worker = _unrun.pop()
        worker._inbox.close()
        worker._outbox.close()


class Holder:
    """Bodies of jobs that hold until they are let go, one by one."""

    def __init__(self) -> None:
        self.inside: list[int] = []
        self.turns = threading.Semaphore(0)

    def __call__(self, n: int) -> None:
        self.inside.append(n)
        self.turns.acquire(timeout=30)
        self.inside.remove(n)

    def let_go(self, n: int) -> None:
        self.turns.release(n)

    def is_down_to(self, most: int) -> bool:
        """Tell whether no more jobs are inside; else let one of them go."""
        if len(self.inside) > most:
            self.let_go(1)
        return len(self.inside) <= most


def is_down_to_one(worker: WorkerProcess) -> bool:
    return "1 of 4 slots" in worker.chores._yielding.slowed().get("low", "")


def holding(jobs, queue: str) -> tuple[Holder, object]:
    holder = Holder()

    @jobs.task(name=queue, queue=queue)
    def body(n: int) -> None:
        holder(n)

    return holder, body


def made(jobs, queues: str) -> WorkerProcess:
    options = WorkerOptions(threads=SLOTS, heartbeat=0.1, dead_after=5, queues=parse_queues(queues))
    return WorkerProcess(jobs, options)


@pytest.fixture
def start(jobs):
    started = []

    def run(queues: str) -> WorkerProcess:
        worker = made(jobs, queues)
        started.append((worker, run_in_thread(worker)))
        return worker

    yield run
    for worker, thread in started:
        worker.stop(hurry=True)
        worker.stop(hurry=True)
        thread.join(10)


def down_to_one_as_told(jobs) -> str:
    """What the worker's heartbeat says of the queue low, once that is down to one slot."""
    told = [worker.slowed.get("low", "") for worker in jobs.store.workers()]
    return next((one for one in told if one.startswith("1 of")), "")


def test_a_queue_past_its_target_gets_the_slots_of_others_and_gives_them_back(jobs, start, caplog):
    low, low_task = holding(jobs, "low")
    critical, critical_task = holding(jobs, "critical")
    jobs.queue("critical", target=0.2)
    jobs.enqueue_many(low_task.prepare(n) for n in range(60))
    with caplog.at_level(logging.WARNING):
        process = start("low,critical")  # low would always be first
        wait_until(lambda: len(low.inside) == SLOTS)
        jobs.enqueue_many(critical_task.prepare(n) for n in range(8))
        wait_until(lambda: is_down_to_one(process))
        wait_until(lambda: low.is_down_to(1) and len(critical.inside) >= SLOTS - 1, timeout=40)
        assert "queue low is slowed down: queue critical is past its target" in caplog.text
        told = wait_until(lambda: down_to_one_as_told(jobs))
        assert told.startswith("1 of 4 slots: queue critical is past its target")
        critical.let_go(8)
        wait_until(lambda: len(low.inside) == SLOTS)
        wait_until(lambda: "queue low has its whole share again" in caplog.text)
    wait_until(lambda: not jobs.store.workers()[0].slowed)
    low.let_go(60)


def test_it_is_shown_by_status_and_told_of_the_job(jobs, start):
    low, task = holding(jobs, "low")
    jobs.stress(lambda: True)
    handles = jobs.enqueue_many(task.prepare(n) for n in range(60))
    start("low,other")
    wait_until(lambda: down_to_one_as_told(jobs))
    told = [line for line in worker_lines(look(jobs.store)) if "slowed" in line]
    assert "queue low is slowed on" in told[0]
    assert "the store is under stress" in told[0]
    seen = Look(at=jobs.clock(), queues=jobs.store.count(), workers=jobs.store.workers())
    record = next(r for h in handles if (r := h.refresh()).state.value == "queued")
    [reason] = [one for one in explain(record, seen, jobs.tasks) if one.kind == "slowed"]
    assert "Workers take less from queue low: 1 of 4 slots" in reason.text
    low.let_go(60)


def test_under_stress_one_slot_is_left_and_after_it_they_come_back(jobs, start):
    low, task = holding(jobs, "low")
    stressed = threading.Event()
    jobs.stress(stressed.is_set)
    jobs.enqueue_many(task.prepare(n) for n in range(60))
    stressed.set()
    worker = start("low")
    wait_until(lambda: is_down_to_one(worker))
    wait_until(lambda: low.is_down_to(1) and low.inside)
    stressed.clear()
    wait_until(lambda: len(low.inside) == SLOTS)
    low.let_go(60)


# ---- the rule itself, look by look


def looks(jobs, queues="critical,low"):
    """Return a worker's side that does not run, and what looks at a given age of the oldest job."""
    _unrun.append(made(jobs, queues))
    one = _unrun[-1].chores._yielding
    real = jobs.clock

    def look_at(age: float) -> dict[str, str]:
        jobs.clock = lambda: real() + age
        jobs.pressure._next_look = float("-inf")
        one.look()
        return one.slowed()

    return one, look_at


@pytest.fixture
def late(jobs):
    """An application whose critical queue has a job that waits."""
    _, task = holding(jobs, "critical")
    jobs.queue("critical", target="10s")
    holding(jobs, "low")
    jobs.store.setup()
    task.enqueue(1)
    return jobs


def test_shares_halve_down_to_one_slot_and_come_back_step_by_step(late):
    one, look_at = looks(late)
    assert look_at(9) == {}
    shares = []
    for _ in range(6):
        look_at(11)
        shares.append(one._shares["low"])
    assert shares == [0.5, 0.25, 0.125, 0.0625, 0.0, 0.0]
    assert one.room("low") == 1
    assert one.room("critical") == float("inf")
    look_at(6)
    assert one._shares["low"] == 0.0, "below its target, but not by half yet"
    steps = 0
    while look_at(4):
        steps += 1
    assert steps == 9
    assert one.room("low") == float("inf")


def test_a_paused_queue_presses_nobody(late):
    _, look_at = looks(late)
    late.store.pause("critical", paused=True)
    assert look_at(60) == {}


def test_longer_targets_yield_to_shorter_ones_and_never_the_other_way(late):
    late.queue("mail", target="1m")
    one, look_at = looks(late, "critical,mail,low")
    assert set(look_at(30)) == {"mail", "low"}
    assert "critical" not in one.slowed()


def test_what_star_serves_is_slowed_only_when_the_urgent_queue_is_named(late):
    _, look_at = looks(late, "*")
    assert look_at(60) == {}
    _, look_at = looks(late, "critical,*")
    assert set(look_at(60)) == {"*"}


def test_after_an_outage_queues_without_a_target_come_back_by_and_by(late):
    one, look_at = looks(late)
    fetcher = one._crew.fetcher
    fetcher._failures = 1
    for _ in range(5):
        look_at(0)
    assert one.slowed() == {"low": "1 of 4 slots: the store is away"}
    fetcher._recovered()
    assert look_at(0) == {"low": "1 of 4 slots: it comes back by and by"}
    seen = []
    while look_at(0):
        seen.append(one.room("low"))
    assert seen == sorted(seen)
    assert {1, 2, 3} == set(seen)


def test_a_stress_that_fails_is_none_and_is_said(late, caplog):
    @late.stress
    def stressed() -> bool:
        raise ConnectionError("no probe")

    _, look_at = looks(late)
    with caplog.at_level(logging.WARNING):
        assert look_at(0) == {}
        look_at(0)
    assert caplog.text.count("jobs.stress failed") == 1


def test_who_declares_nothing_pays_nothing(jobs):
    holding(jobs, "low")
    _unrun.append(made(jobs, "low"))
    assert _unrun[-1].crew.fetcher.yielding is None


def test_a_target_must_be_a_duration(jobs):
    with pytest.raises(ConfigError, match="target is seconds"):
        jobs.queue("mail", target="soon")
