"""Ceilings on queues: what an enqueue does at one, alone, in bulk and within a transaction."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress

import pytest

from process.rig import wait_until
from turnout import ConfigError, JobNotFound, QueueFull, Turnout
from turnout.errors import StoreUnavailable
from turnout.events import JobShed
from turnout.job import JobFilter, State


def mail_of(jobs, **ceilings):
    jobs.queue("mail", **ceilings)

    @jobs.task(name="mail", queue="mail")
    def mail(n: int) -> None: ...

    return mail


def recorded(jobs) -> list[str]:
    return [record.args for record in reversed(jobs.store.find(JobFilter(queue="mail")))]


def test_a_full_queue_refuses_and_says_what_and_for_how_long(jobs):
    mail = mail_of(jobs, max_depth=3)
    for n in range(3):
        mail.enqueue(n)
    with pytest.raises(QueueFull, match=r"queue mail is full: 3 jobs wait, the limit is 3") as told:
        mail.enqueue(3)
    error = told.value
    assert (error.queue, error.depth, error.limit, error.drain_seconds) == ("mail", 3, 3, None)
    assert len(recorded(jobs)) == 3
    assert mail.using(queue="other").enqueue(4).enqueued, "other queues are none of its business"
    assert mail.using(delay=60).enqueue(5).enqueued, "what is not due yet does not count"


def test_there_is_room_again_when_jobs_were_done_and_the_rate_is_known(jobs, bench):
    mail = mail_of(jobs, max_depth=3)
    for n in range(3):
        mail.enqueue(n)
    bench.drain()
    wait_until(lambda: jobs.backlog("mail").depth == 0)
    for n in range(3):
        mail.enqueue(n)
    wait_until(lambda: jobs.backlog("mail").per_second > 0)
    with pytest.raises(QueueFull, match="they take about") as told:
        mail.enqueue(3)
    assert told.value.drain_seconds == pytest.approx(3 / (3 / 60), rel=0.01)


def test_an_old_job_closes_the_queue_however_few_wait(jobs):
    mail = mail_of(jobs, max_age="1m")
    mail.enqueue(1)
    mail.enqueue(2)
    real = jobs.clock
    jobs.clock = lambda: real() + 61
    with pytest.raises(QueueFull, match="oldest job has waited") as told:
        wait_until(lambda: mail.enqueue(3) is None)
    assert told.value.limit == 60


def test_what_others_enqueued_is_seen_after_a_moment(tmp_path):
    one, two = (Turnout(f"sqlite:///{tmp_path}/jobs.db") for _ in range(2))
    first, second = mail_of(one, max_depth=5), mail_of(two, max_depth=5)
    assert two.backlog("mail").depth == 0
    for n in range(5):
        first.enqueue(n)
    with pytest.raises(QueueFull):
        wait_until(lambda: second.enqueue(0) is None)
    assert len(recorded(one)) < 100
    one.close()
    two.close()


def test_many_are_refused_as_a_whole(jobs):
    mail = mail_of(jobs, max_depth=10)
    with pytest.raises(QueueFull, match="11 more came at once"):
        jobs.enqueue_many(mail.prepare(n) for n in range(11))
    assert recorded(jobs) == []
    assert len(jobs.enqueue_many(mail.prepare(n) for n in range(10))) == 10


def test_the_thousands_before_the_full_one_stay_recorded(jobs):
    mail = mail_of(jobs, max_depth=2_500)
    with pytest.raises(QueueFull):
        jobs.enqueue_many(mail.prepare(n) for n in range(4_000))
    [stats] = jobs.store.count()
    assert stats.ready == 2_000


def test_no_numbers_mean_room(jobs, monkeypatch):
    mail = mail_of(jobs, max_depth=1)

    def away(**_):
        raise StoreUnavailable("no route to it")

    monkeypatch.setattr(jobs.store, "count", away)
    assert mail.enqueue(1).enqueued


# ---- wait


@pytest.mark.parametrize("is_async", [False, True])
def test_waiting_ends_when_there_is_room(jobs, bench, is_async):
    mail = mail_of(jobs, max_depth=1, when_full="wait", wait=20)
    mail.enqueue(1)
    over = threading.Event()

    def enqueue():
        if is_async:
            asyncio.run(mail.aenqueue(2))
        else:
            mail.enqueue(2)
        over.set()

    thread = threading.Thread(target=enqueue)
    thread.start()
    assert not over.is_set()
    bench.drain(most=1)
    thread.join(20)
    assert over.is_set()
    assert len(recorded(jobs)) == 2


@pytest.mark.parametrize("is_async", [False, True])
def test_waiting_in_vain_raises_and_records_nothing(jobs, is_async):
    mail = mail_of(jobs, max_depth=1, when_full="wait", wait="50ms")
    mail.enqueue(1)
    with pytest.raises(QueueFull):
        asyncio.run(mail.aenqueue(2)) if is_async else mail.enqueue(2)
    assert len(recorded(jobs)) == 1


# ---- spill


def test_what_is_spilled_is_recorded_in_order_when_there_is_room(jobs, bench, tmp_path):
    folder = tmp_path / "spill"
    mail = mail_of(jobs, max_depth=20, when_full="spill", spill=str(folder))
    ran = []
    mail.fn = ran.append
    jobs.enqueue_many(mail.prepare(n) for n in range(20))
    job = mail.enqueue(20)
    later = jobs.enqueue_many(mail.prepare(n) for n in range(21, 40))
    assert job.enqueued
    assert job.buffered
    assert list(folder.rglob("*.jsonl"))
    with pytest.raises(JobNotFound, match="waits in this process"):
        job.refresh()

    def all_done() -> bool:
        bench.drain()
        return len(jobs.store.find(JobFilter(queue="mail", states=(State.SUCCEEDED,)))) == 40

    wait_until(all_done)
    assert ran == list(range(40)), "nobody overtakes"
    assert not any(one.buffered for one in (job, *later))
    wait_until(lambda: not list(folder.rglob("*.jsonl")))


def test_what_a_process_left_behind_is_recorded_by_the_next(jobs, tmp_path):
    folder = tmp_path / "spill"
    mail = mail_of(jobs, max_depth=1, when_full="spill", spill=str(folder))
    mail.enqueue(1)
    mail.enqueue(2)
    spill = jobs.pressure._spills["mail"]
    spill.close(0.05)
    spill.after_fork()  # as a process that is gone: it lets go of its file
    other = Turnout(jobs.url)
    other._store = jobs.store
    again = mail_of(other, max_depth=10, when_full="spill", spill=str(folder))
    again.enqueue(3)
    wait_until(lambda: len(recorded(jobs)) == 3)
    other.pressure.close()


# ---- shed


def test_low_priorities_are_shed_and_can_be_seen_to_be(jobs, caplog):
    mail = mail_of(jobs, max_depth=2, when_full="shed", shed_below=5)
    heard = []
    jobs.on(JobShed)(heard.append)
    for n in range(2):
        mail.enqueue(n)
    with caplog.at_level(logging.WARNING):
        job = mail.enqueue(2)
    assert (job.enqueued, job.shed) == (False, True)
    with pytest.raises(JobNotFound, match="shed, as its queue was full"):
        job.refresh()
    assert [event.id for event in heard] == [job.id]
    assert "queue mail is full" in heard[0].reason
    assert "1 of mail" in caplog.text
    urgent = mail.using(priority=5).enqueue(3)
    assert (urgent.enqueued, urgent.shed) == (True, False), "over the ceiling, as it is urgent"
    handles = jobs.enqueue_many(mail.using(priority=p).prepare(p) for p in (0, 5, 4, 6))
    assert [(one.enqueued, one.shed) for one in handles] == [
        (False, True), (True, False), (False, True), (True, False),
    ]  # fmt: skip
    assert len(recorded(jobs)) == 5


# ---- within a transaction


@pytest.fixture
def sql(tmp_path):
    app = Turnout(f"sqlite:///{tmp_path}/own.db")
    app.store.setup()
    yield app
    app.close()


@pytest.mark.parametrize("when_full", ["raise", "wait", "spill"])
def test_in_a_transaction_a_full_queue_raises_before_anything_is_written(sql, tmp_path, when_full):
    more = {"spill": str(tmp_path / "spill")} if when_full == "spill" else {}
    mail = mail_of(sql, max_depth=1, when_full=when_full, **more)
    mail.enqueue(1)
    with sql.store.transaction() as connection, sql.within(connection):
        before = connection.total_changes
        with pytest.raises(QueueFull):
            mail.enqueue(2)
        assert connection.total_changes == before
    with suppress(QueueFull), sql.store.transaction() as connection, sql.within(connection):
        sql.enqueue_many(mail.prepare(n) for n in (3, 4))
    assert len(recorded(sql)) == 1
    assert not (tmp_path / "spill").exists()


def test_in_a_transaction_jobs_are_shed_as_elsewhere(sql):
    mail = mail_of(sql, max_depth=1, when_full="shed")
    low, high = mail.using(priority=-1), mail.using(priority=1)
    mail.enqueue(1)
    with sql.store.transaction() as connection, sql.within(connection):
        assert low.enqueue(2).shed
        assert high.enqueue(3).enqueued
    assert len(recorded(sql)) == 2


# ---- declarations


def test_every_fault_of_a_declaration_is_told_at_once(jobs):
    with pytest.raises(ConfigError) as told:
        jobs.queue("mail", max_depth=0, max_age="soon", when_full="spill", wait=3)
    for word in ("max_depth", "max_age", "wait=", "spill="):
        assert word in str(told.value)
    with pytest.raises(ConfigError, match="no option 'max_deep'"):
        jobs.queue("mail", max_deep=1)
    with pytest.raises(ConfigError, match="need max_depth"):
        jobs.queue("mail", when_full="shed")
    with pytest.raises(ConfigError, match="when_full is one of"):
        jobs.queue("mail", max_depth=1, when_full="explode")
    jobs.queue("mail", max_depth=1)
    with pytest.raises(ConfigError, match="declared twice"):
        jobs.queue("mail", max_depth=2)
