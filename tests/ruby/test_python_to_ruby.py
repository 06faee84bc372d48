"""Python enqueues, a real Sidekiq runs it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from ruby.conftest import wait_until
from turnout.activejob import GlobalID, Symbol


def test_what_python_enqueues_runs_in_ruby(shop):
    shop.sidekiq("ruby")
    hard = shop.jobs.sidekiq("RubyJob", queue="ruby")
    job = hard.enqueue(1, "x", {"deep": [1.5, None, True]})
    assert shop.until_said("RubyJob") == [[1, "x", {"deep": [1.5, None, True]}, job.id]]
    hard.using(delay=timedelta(seconds=0.5)).enqueue(2, "later")
    hard.enqueue_many([(3, "many"), (4, "many")])
    said = shop.until_said("RubyJob", 4)
    assert sorted(line[:2] for line in said) == [[1, "x"], [2, "later"], [3, "many"], [4, "many"]]


def test_a_payload_for_ruby_says_what_sidekiqs_own_would(shop):
    hard = shop.jobs.sidekiq("RubyJob", queue="ruby", retry=5, tags=["vip"], dead=False)
    soon = hard.using(delay=100, backtrace=True).enqueue(1, "x")
    now = hard.using(retry=None).enqueue(2, "y")
    ours = shop.ruby(
        "[Sidekiq::ScheduledSet.new.first.item, Sidekiq::Queue.new('ruby').first.item]"
    )
    theirs = shop.ruby(
        "RubyJob.set(retry: 5, tags: ['vip'], dead: false, backtrace: true)"
        ".perform_in(100, 1, 'x'); "
        "RubyJob.set(tags: ['vip'], dead: false).perform_async(2, 'y'); "
        "[Sidekiq::ScheduledSet.new.to_a.last.item, Sidekiq::Queue.new('ruby').first.item]"
    )
    moments = {"jid", "created_at", "enqueued_at"}
    for one, other in zip(ours, theirs, strict=True):
        optional = {"retry"} if other["args"] == [2, "y"] else set()
        assert one.keys() == other.keys() - optional
        changing = moments | optional
        assert {k: v for k, v in one.items() if k not in changing} == {
            k: v for k, v in other.items() if k not in changing
        }
        assert abs(one["created_at"] - other["created_at"]) < 60
    assert [one["jid"] for one in ours] == [soon.id, now.id]


def test_active_job_runs_what_python_enqueues(shop):
    shop.sidekiq("ruby")
    cleanup = shop.jobs.active_job("CleanupJob", queue="ruby")
    at = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    cleanup.enqueue(
        GlobalID.of("hotel", "Guest", 7),
        at=at,
        day=date(2026, 2, 3),
        kind=Symbol("vip"),
        span=timedelta(seconds=90),
    )
    cleanup.using(delay=0.2).enqueue("nobody", at=at)
    first, second = sorted(shop.until_said("CleanupJob", 2), key=str)
    assert first == [
        *("Guest", "7", "Time", "2026-02-03T04:05:06Z"),
        {
            "day": ["Date", "2026-02-03"],
            "kind": ["Symbol", "vip"],
            "span": ["ActiveSupport::Duration", "90"],
        },
    ]
    assert second == ["String", "nobody", "Time", "2026-02-03T04:05:06Z", {}]


def test_a_job_for_ruby_is_found_and_can_be_cancelled_while_it_waits(shop):
    job = shop.jobs.sidekiq("RubyJob", queue="ruby").enqueue(1, "x")
    assert job.refresh().state == "queued"
    assert job.cancel()
    assert job.refresh().state == "cancelled"
    assert shop.ruby("Sidekiq::Queue.new('ruby').size") == 0


def test_a_ruby_process_promotes_our_scheduled_jobs_unharmed(shop):
    shop.sidekiq("ruby")
    job = shop.jobs.tasks["held"].using(delay=0.3).enqueue("promoted")
    wait_until(lambda: shop.raw.llen("queue:ours"), "Sidekiq has moved it to its queue")
    (shop.folder / "go-promoted").touch()
    shop.worker("ours")
    assert job.wait(30) is None
