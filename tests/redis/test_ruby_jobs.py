"""Jobs of Ruby's in our hands, without a Ruby: their form, their order, their own terms."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from conformance.builders import T, lease, new_job, open_epoch, put, retried, stats, succeeded, want
from turnout import Turnout
from turnout.job import JobFilter, JobId, Outcome, State, Trail
from turnout.terms import Terms


def ruby_job(n: int = 1, **members: Any) -> dict[str, Any]:
    """A job as Sidekiq's client writes it."""
    return {
        "retry": True,
        "queue": "ruby",
        "class": "HardJob",
        "args": [n, "x"],
        "jid": f"{n:024x}",
        "created_at": T - 20,
        "enqueued_at": T - 10,
        **members,
    }


def push(raw, *jobs: dict[str, Any]) -> None:
    for job in jobs:
        raw.sadd("queues", job["queue"])
        raw.lpush(f"queue:{job['queue']}", json.dumps(job, separators=(",", ":")))


def leased_one(store, raw, **members: Any):
    push(raw, ruby_job(**members))
    open_epoch(store)
    [job] = lease(store, "ruby")
    return job


def settle(store, *outcomes):
    """Settle, whatever the ids look like."""
    return store.exchange("e1", outcomes, None, now=T).settled


def test_arguments_are_the_whole_array(store, raw):
    assert leased_one(store, raw).args == '[1,"x"]'
    assert leased_one(store, raw, args=[], jid="b").args == "[]"
    assert leased_one(store, raw, args=[{"order_id": 1}], jid="c").args == '[{"order_id":1}]'


@pytest.mark.parametrize(
    ("members", "terms"),
    [
        ({}, None),
        ({"retry": 5}, Terms(attempts=6)),
        ({"retry": 0}, Terms(attempts=1)),
        ({"retry": False}, Terms(attempts=1, bury=False)),
        ({"dead": False}, Terms(bury=False)),
        ({"retry_for": 60}, Terms(retry_for=60)),
        ({"retry": "soon", "retry_for": "long", "dead": "yes"}, None),
        (
            {"retry_for": 60, "failed_at": 1_699_999_000_123},
            Terms(retry_for=60, failed_at=1_699_999_000.123),
        ),
    ],
)
def test_what_it_says_of_its_retries_comes_with_it(store, raw, members, terms):
    assert leased_one(store, raw, **members).terms == terms


def test_its_failures_in_ruby_are_its_history(store, raw):
    job = leased_one(
        store, raw, retry_count=2, error_class="NoMethodError", error_message="nil", failed_at=T
    )
    trail = msgspec.json.decode(job.trail, type=Trail)
    assert (job.attempt, trail.counts) == (3, {"default": 3})
    [entry] = trail.attempts
    assert (entry.attempt, entry.error, entry.message) == (3, "NoMethodError", "nil")
    settle(store, retried(job, run_at=T + 60))
    after = json.loads(raw.zrange("retry", 0, -1)[0])
    assert after["retry_count"] == 3


def test_active_jobs_wrapper_is_seen_through(store, raw):
    inner = {"job_class": "CleanupJob", "arguments": [{"_aj_globalid": "gid://a/B/1"}], "more": 1}
    for n, name in enumerate(
        ("Sidekiq::ActiveJob::Wrapper", "ActiveJob::QueueAdapters::SidekiqAdapter::JobWrapper")
    ):
        job = leased_one(
            store, raw, jid=f"{n}", args=[inner], **{"class": name, "wrapped": "CleanupJob"}
        )
        assert job.task == "CleanupJob"
        assert job.args == '{"_aj_arguments":[{"_aj_globalid": "gid://a/B/1"}]}'.replace(": ", ":")


def test_what_goes_back_unrun_is_first_in_line_again_and_unchanged(store, raw):
    push(raw, *(ruby_job(n) for n in range(5)))
    before = raw.lrange("queue:ruby", 0, -1)
    open_epoch(store)
    jobs = store.exchange("e1", [], want("ruby", room=3), now=T).leased
    assert len(settle(store, *(Outcome.released(job, T) for job in jobs))) == 3
    assert raw.lrange("queue:ruby", 0, -1) == before


def test_one_whose_worker_died_is_first_in_line_and_remembers_it(store, raw):
    leased_one(store, raw)
    push(raw, ruby_job(2))
    store.reap(epoch="e1", now=T)
    second, first = map(json.loads, raw.lrange("queue:ruby", 0, -1))
    assert (first["jid"], second["jid"]) == (f"{1:024x}", f"{2:024x}")
    assert first["turnout"]["crashes"] == 1
    assert {name: first[name] for name in ruby_job()} == ruby_job()
    open_epoch(store, "e2")
    assert [job.crashes for job in lease(store, "ruby", epoch="e2")] == [1, 0]


def test_a_retry_that_comes_due_stands_in_the_list_where_ruby_looks(store, raw):
    job = leased_one(store, raw)
    settle(store, retried(job, run_at=T + 60))
    put(store, new_job(5, "ruby"), now=T + 70)
    assert stats(store, "ruby", now=T + 80).ready == 2
    last, first = map(json.loads, raw.lrange("queue:ruby", 0, -1))
    assert first["class"] == "shop.charge"
    assert (last["jid"], last["enqueued_at"]) == (job.id, T + 80)
    assert raw.zcard("turnout:ready:ruby") == 0


def test_what_succeeded_is_found_by_its_id_and_leaves_nothing_in_the_index(store, raw):
    job = leased_one(store, raw)
    settle(store, succeeded(job))
    [record] = store.find(JobFilter(ids=(job.id,)), now=T)
    assert (record.state, record.task, record.queue) == (State.SUCCEEDED, "HardJob", "ruby")
    assert raw.hlen("turnout:jobs") == 0


def test_what_waits_for_its_time_is_found_with_that_time(store, raw):
    raw.sadd("queues", "ruby")
    raw.zadd("schedule", {json.dumps(ruby_job()): T + 60})
    [record] = store.find(JobFilter(view="scheduled"), now=T)
    assert record.run_at == T + 60
    assert store.find(JobFilter(view="ready"), now=T) == []
    assert store.change(JobFilter(ids=(JobId(f"{1:024x}"),)), "retry", now=T) == 1
    assert raw.llen("queue:ruby") == 1


def test_a_time_within_the_arguments_is_left_alone_when_it_comes_due(store, raw):
    args = [{"enqueued_at": 5}]
    scheduled = {**ruby_job(args=args), "jid": "a"}
    del scheduled["enqueued_at"]
    raw.zadd("schedule", {json.dumps(scheduled): T})
    raw.zadd("retry", {json.dumps({**ruby_job(args=args), "jid": "b"}): T})
    raw.sadd("queues", "ruby")
    assert stats(store, "ruby").ready == 2
    moved = {job["jid"]: job for job in map(json.loads, raw.lrange("queue:ruby", 0, -1))}
    assert [moved[jid]["args"] for jid in "ab"] == [args, args]
    assert moved["a"]["enqueued_at"] == T


# ---- whose queue it is


def test_a_queue_is_rubys_until_turnout_enqueues_to_it(store, raw):
    push(raw, ruby_job())
    open_epoch(store)
    assert stats(store, "ruby").foreign
    assert lease(store) == []
    asked = want("*", "ruby")
    implied = msgspec.structs.replace(asked, implied=frozenset({"ruby"}))
    assert store.exchange("e1", [], implied, now=T).leased == []
    put(store, new_job(1, "ruby"))
    assert not stats(store, "ruby").foreign
    assert len(store.exchange("e1", [], implied, now=T).leased) == 2


def test_a_job_for_ruby_does_not_make_its_queue_ours(url, store, raw):
    with_ruby = Turnout(url)
    job = with_ruby.sidekiq("HardJob", queue="ruby").enqueue(1, "x")
    with_ruby.close()
    [text] = raw.lrange("queue:ruby", 0, -1)
    seen = json.loads(text)
    assert (seen["jid"], seen["class"], seen["args"]) == (job.id, "HardJob", [1, "x"])
    assert len(job.id) == 24
    assert stats(store, "ruby").foreign
    assert raw.hlen("turnout:jobs") == 0


def test_middleware_may_change_or_refuse_a_job_for_ruby(url, raw):
    jobs = Turnout(url)

    @jobs.around_enqueue
    def layer(job, proceed):
        if job.args == "[1]":
            return None
        return proceed(msgspec.structs.replace(job, queue="changed"))

    hard = jobs.sidekiq("HardJob")
    assert [job.enqueued for job in hard.enqueue_many([[1], [2]])] == [False, True]
    assert raw.smembers("queues") == {"changed"}
    assert json.loads(raw.lindex("queue:changed", 0))["queue"] == "changed"
    jobs.close()
