"""Sidekiq's layout: what other programs see of ours, and what we make of theirs."""

from __future__ import annotations

import base64
import json
import random
import zlib
from typing import Any

import msgspec
import pytest

from conformance.builders import (
    ALL,
    DAY,
    T,
    bury,
    ended,
    found,
    known,
    lease,
    new_job,
    numbers,
    open_epoch,
    put,
    retried,
    running,
    settle,
    stats,
    succeeded,
    want,
    worker,
)
from turnout.errors import ConfigError
from turnout.job import JobFilter, JobId, Outcome, State
from turnout.store.redis import RedisStore


def sidekiq_job(n: int = 1, **members: Any) -> dict[str, Any]:
    """A job as Sidekiq's client writes it."""
    return {
        "retry": True,
        "queue": "default",
        "class": "HardJob",
        "args": [1, {"jid": "no"}, [], 12345678901234567890],
        "jid": f"{n:024x}",
        "created_at": 1_699_999_000_123,
        "enqueued_at": 1_699_999_000_456,
        **members,
    }


def push(raw, *jobs: dict[str, Any]) -> None:
    for job in jobs:
        raw.sadd("queues", job["queue"])
        raw.lpush(f"queue:{job['queue']}", json.dumps(job, separators=(",", ":")))


# ---- what others see of ours


def test_a_ready_job_is_a_payload_in_sidekiqs_list(store, raw):
    put(store, new_job(1, "mail", task="Mailer"))
    assert raw.smembers("queues") == {"mail"}
    [text] = raw.lrange("queue:mail", 0, -1)
    job = json.loads(text)
    assert (job["class"], job["queue"], job["retry"]) == ("Mailer", "mail", True)
    assert job["args"] == [{"order_id": 1}]
    assert (job["created_at"], job["enqueued_at"]) == (T, T)


def test_a_scheduled_job_is_in_sidekiqs_set_without_a_time_of_arrival(store, raw):
    put(store, new_job(1, run_at=T + 60))
    [(text, score)] = raw.zrange("schedule", 0, -1, withscores=True)
    assert score == T + 60
    assert json.loads(text).keys().isdisjoint({"at", "enqueued_at"})


def test_a_failed_job_is_in_sidekiqs_retry_set_with_its_story(store, raw):
    [job] = running(store, new_job(1))
    outcome = retried(job, run_at=T + 60)
    trail = msgspec.json.decode(outcome.trail)
    trail["attempts"][-1] |= {"message": "declined", "traceback": "one\ntwo"}
    text = msgspec.json.encode(trail).decode()
    settle(store, msgspec.structs.replace(outcome, trail=text))
    [(text, score)] = raw.zrange("retry", 0, -1, withscores=True)
    seen = json.loads(text)
    assert (score, seen["retry_count"], seen["failed_at"]) == (T + 60, 0, T)
    assert (seen["error_class"], seen["error_message"]) == (
        "shop.errors.CardDeclined",
        "declined",
    )
    assert json.loads(zlib.decompress(base64.b64decode(seen["error_backtrace"]))) == ["one", "two"]


def test_a_dead_job_is_in_sidekiqs_dead_set(store, raw):
    bury(store, new_job(1))
    [(text, score)] = raw.zrange("dead", 0, -1, withscores=True)
    assert (score, json.loads(text)["error_class"]) == (T, "shop.errors.CardDeclined")


def test_a_worker_is_a_process_of_sidekiqs(store, raw):
    running(store, new_job(1))
    store.heartbeat(worker("e1", running=1), ttl=30, now=T)
    assert raw.smembers("processes") == {"host:e1"}
    seen = raw.hgetall("host:e1")
    assert (seen["concurrency"], seen["busy"], seen["quiet"]) == ("10", "1", "false")
    assert json.loads(seen["info"])["identity"] == "host:e1"
    [work] = raw.hvals("host:e1:work")
    assert json.loads(json.loads(work)["payload"])["jid"] == known(store, 1).id
    store.heartbeat(worker("e1", state="stopped"), ttl=30, now=T)
    assert not raw.exists("host:e1", "host:e1:work")
    assert raw.smembers("processes") == set()


@pytest.mark.parametrize(("signal", "order"), [("TSTP", "quiet"), ("TERM", "stop")])
def test_an_order_given_on_sidekiqs_page_comes_with_the_heartbeat(store, raw, signal, order):
    open_epoch(store)
    raw.lpush("host:e1-signals", signal)
    assert getattr(store.heartbeat(worker("e1"), ttl=30, now=T), order)


def test_what_ran_and_failed_is_counted_where_sidekiq_counts(store, raw):
    first, second, third = running(store, new_job(1), new_job(2), new_job(3))
    settle(store, succeeded(first), ended(second), Outcome.released(third, T))
    assert (raw.get("stat:processed"), raw.get("stat:failed")) == ("2", "1")
    assert raw.get("stat:processed:2023-11-14") == "2"


def test_how_often_and_how_long_each_class_ran_is_in_sidekiqs_metrics(store, raw):
    jobs = running(store, *(new_job(n, task="Mail") for n in range(4)), new_job(9, task="Other"))
    took = [
        msgspec.structs.replace(succeeded(job), started_at=T, finished_at=T + 0.0251 * n)
        for n, job in enumerate(jobs[:3])
    ]
    settle(store, *took, ended(jobs[3]), Outcome.released(jobs[4], T))
    store.heartbeat(worker("e1"), ttl=30, now=T)
    counted = {"Mail|p": "4", "Mail|f": "1", "Mail|ms": "75"}
    assert raw.hgetall("j|231114|22:13") == raw.hgetall("j|231114|22:1") == counted
    slots = raw.execute_command(
        "BITFIELD",
        "h|Mail-14-22:13",
        *(part for n in range(26) for part in ("GET", "u16", f"#{n}")),
    )
    assert slots == [1, 1, 0, 1, *[0] * 22], "0, 25 and 50 ms"
    kept = ("j|231114|22:13", "h|Mail-14-22:13", "j|231114|22:1")
    assert [raw.ttl(key) for key in kept] == [28_800, 28_800, 259_200]
    store.heartbeat(worker("e1"), ttl=30, now=T)
    assert raw.hget("j|231114|22:13", "Mail|p") == "4", "once"


# ---- what we make of theirs


@pytest.mark.parametrize(
    "times",
    [
        {},
        {"created_at": 1_699_999_000.123, "enqueued_at": 1_699_999_000.456},
    ],
    ids=["milliseconds", "seconds"],
)
def test_a_job_of_rubys_is_leased(store, raw, times):
    push(raw, sidekiq_job(**times))
    open_epoch(store)
    [job] = lease(store, "default")
    assert (job.id, job.task, job.queue) == (f"{1:024x}", "HardJob", "default")
    assert (job.enqueued_at, job.run_at) == (1_699_999_000.123, 1_699_999_000.456)
    assert store.exchange("e1", [succeeded(job)], None, now=T).settled == [job.id]


def test_members_that_we_do_not_know_come_through_a_retry_untouched(store, raw):
    job = sidekiq_job(cattr={"user": 7}, tags=["vip"], bid=None)
    push(raw, job)
    open_epoch(store)
    [leased] = lease(store, "default")
    store.exchange("e1", [retried(leased, run_at=T + 60)], None, now=T)
    after = json.loads(raw.zrange("retry", 0, -1)[0])
    del job["enqueued_at"]  # it will come to its queue anew
    assert {name: after[name] for name in job} == job
    open_epoch(store, now=T + 60)
    [again] = lease(store, "default", now=T + 60)
    assert (again.id, again.attempt) == (job["jid"], 1)


def test_a_job_that_ruby_has_retried_knows_its_attempts(store, raw):
    push(raw, sidekiq_job(retry_count=2))
    open_epoch(store)
    assert lease(store, "default")[0].attempt == 3


def test_jobs_that_ruby_has_scheduled_are_promoted_and_counted(store, raw):
    job = sidekiq_job(queue="mail")
    raw.zadd("schedule", {json.dumps(job): T + 60})
    raw.sadd("queues", "mail")
    assert stats(store, "mail").scheduled == 1
    assert stats(store, "mail", now=T + 60).ready == 1
    assert raw.llen("queue:mail") == 1


def test_what_ruby_takes_out_of_a_set_is_not_counted_for_long(store, raw):
    put(store, new_job(1, run_at=T + 60))
    bury(store, new_job(2))
    raw.delete("schedule", "dead")
    assert (stats(store).scheduled, stats(store).dead) == (0, 0)


def test_jobs_of_rubys_are_found_and_changed_by_their_id(store, raw):
    push(raw, *(sidekiq_job(n) for n in range(5)))
    wanted = JobId(f"{3:024x}")
    [seen] = store.find(JobFilter(ids=(wanted,)), now=T)
    assert (seen.id, seen.state, seen.task) == (wanted, State.QUEUED, "HardJob")
    assert store.change(JobFilter(ids=(wanted,)), "delete", now=T) == 1
    assert raw.llen("queue:default") == 4
    assert store.change(ALL, "cancel", now=T) == 4


def test_a_payload_that_nobody_can_read_goes_to_the_dead_and_stops_nobody(store, raw):
    raw.sadd("queues", "default")
    for text in ("garbage", "[]", '{"jid":"1"}', '{"jid":"2","class":7}'):
        raw.lpush("queue:default", text)
    put(store, new_job(1))
    open_epoch(store)
    leased = lease(store)
    assert [job.id for job in leased] == ["1", new_job(1).id]
    assert set(raw.zrange("dead", 0, -1)) == {"garbage", "[]", '{"jid":"2","class":7}'}
    assert store.exchange("e1", list(map(succeeded, leased)), want(), now=T).leased == []
    assert stats(store).running == 0


def test_ten_thousand_jobs_in_one_pipeline_are_drained(store, raw):
    pipe = raw.pipeline(transaction=False)
    pipe.sadd("queues", "default")
    for n in range(10_000):
        pipe.lpush("queue:default", json.dumps(sidekiq_job(n)))
    pipe.execute()
    open_epoch(store)
    seen: list[str] = []
    while leased := store.exchange("e1", [], want("default", room=500, limit=500), now=T).leased:
        seen += [job.id for job in leased]
        assert len(store.exchange("e1", list(map(succeeded, leased)), None, now=T).settled) == len(
            leased
        )
    assert seen == [f"{n:024x}" for n in range(10_000)], "in the order of their arrival"


# ---- order, and finding


def test_a_list_that_cannot_keep_the_order_has_a_set_beside_it(store, raw):
    put(store, new_job(5))
    put(store, new_job(7), now=T + 2)
    put(store, new_job(6), now=T + 1)  # neither before the first nor after the last
    put(store, new_job(8, priority=1), now=T + 3)
    assert (raw.llen("queue:default"), raw.zcard("turnout:ready:default")) == (2, 2)
    open_epoch(store, now=T + 3)
    assert numbers(lease(store, now=T + 3)) == [8, 5, 6, 7]


def test_each_of_many_is_found_by_its_id_without_a_scan(store, raw):
    rng = random.Random(1)
    for start in range(0, 3_000, 500):
        put(store, *(new_job(n) for n in range(start, start + 500)), now=T + start)
    put(store, *(new_job(n, priority=n % 3 - 1, run_at=T + n % 7) for n in range(4_000, 4_900)))
    raw.config_resetstat()
    for n in (0, 2_999, 4_000, 4_899, *rng.sample(range(3_000), 10)):
        assert known(store, n, now=T + 9_999).state is State.QUEUED
    assert "cmdstat_lrange" not in raw.info("commandstats")


def test_an_unknown_id_of_ours_costs_no_scan(store, raw):
    put(store, new_job(1))
    raw.config_resetstat()
    assert found(store, ids=(new_job(99).id,)) == []
    assert "cmdstat_lrange" not in raw.info("commandstats")


def test_nothing_is_left_of_jobs_that_are_not_kept(store, raw):
    leased = running(store, *(new_job(n) for n in range(5)))
    settle(store, *(succeeded(job, keep=0) for job in leased))
    finished = running(store, *(new_job(n) for n in range(10, 15)), epoch="e2")
    settle(store, *map(succeeded, finished), epoch="e2")
    from turnout.job import Retention

    assert store.prune(Retention(), now=T + DAY) == 5
    assert raw.hlen("turnout:jobs") == 0
    assert raw.hlen("turnout:trace") == raw.zcard("turnout:trace:line") == 0


# ---- addresses


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("redis://host:port/0", "cannot be read"),
        ("redis://host/abc", "cannot be read"),
        ("redis://host/0?decode_responses=1", "decode_responses"),
        ("redis://host/0?colour=red", "colour"),
    ],
)
def test_a_wrong_address_is_named(url, fault):
    with pytest.raises(ConfigError, match=fault):
        RedisStore.from_url(url)


def test_times_are_written_as_a_json_library_writes_them_again(store, raw):
    """Sidekiq knows a job by its text: one in ten had a zero at its end, and was doubled there."""
    for n in range(60):
        store.enqueue([new_job(n, "default")])
    texts = raw.lrange("queue:default", 0, -1)
    assert len(texts) == 60
    for text in texts:
        for name in ("created_at", "enqueued_at"):
            written = text.partition(f'"{name}":')[2].partition(",")[0].rstrip("}")
            assert written == repr(float(written))
