"""What Sidekiq's own API, and with it its pages, shows of ours and does to it."""

from __future__ import annotations

import json
import signal

import pytest

from ruby.conftest import wait_until
from turnout import State
from turnout.job import JobFilter


def failed(shop, **options):
    """A job of ours that has failed once; with retry=0, died."""
    return shop.jobs.tasks["HardJob"].using(queue="ours", **options).enqueue(1, "broken")


def test_our_failed_job_is_listed_and_retried_by_rubys_api(shop):
    worker = shop.worker("ours")
    job = failed(shop)
    wait_until(lambda: shop.raw.zcard("retry"), "it waits for its retry")
    worker.terminate()
    worker.wait(20)
    code = "job = Sidekiq::RetrySet.new.find_job('%s'); [job.klass, job.queue, job['error_class']]"
    assert shop.ruby(code % job.id) == ["HardJob", "ours", "LookupError"]
    shop.ruby(f"Sidekiq::RetrySet.new.find_job('{job.id}').retry")
    assert shop.ruby("[Sidekiq::RetrySet.new.size, Sidekiq::Queue.new('ours').size]") == [0, 1]
    shop.worker("ours")
    assert shop.until_said("HardJob", 2) == [[1, "broken"], [1, "broken"]]
    record = wait_until(lambda: (one := job.refresh()).attempt == 2 and one, "it failed again")
    assert [one.attempt for one in record.attempts] == [1, 2]


def test_our_dead_job_is_listed_and_retried_by_rubys_api(shop):
    worker = shop.worker("ours")
    job = failed(shop)
    wait_until(lambda: shop.raw.zcard("retry"), "it waits for its retry")
    shop.ruby(f"Sidekiq::RetrySet.new.find_job('{job.id}').kill")
    assert shop.ruby("Sidekiq::DeadSet.new.map { |job| [job.jid, job['error_message']] }") == [
        [job.id, "no such order"]
    ]
    assert job.refresh().state is State.DEAD
    shop.ruby(f"Sidekiq::DeadSet.new.find_job('{job.id}').retry")
    assert shop.until_said("HardJob", 2)
    wait_until(lambda: shop.raw.zcard("retry"), "it failed once more")
    assert shop.jobs.store.change(JobFilter(ids=(job.id,)), "delete") == 1
    assert shop.ruby("[Sidekiq::RetrySet.new.size, Sidekiq::DeadSet.new.size]") == [0, 0]
    assert worker.poll() is None


def test_our_scheduled_jobs_are_listed_moved_and_deleted(shop):
    hard = shop.jobs.tasks["HardJob"].using(queue="ours", delay=1_000)
    jobs = [hard.enqueue(n) for n in range(3)]
    assert sorted(shop.ruby("Sidekiq::ScheduledSet.new.map { |job| [job.jid, job.args] }")) == [
        [job.id, [{"order_id": n}]] for n, job in enumerate(jobs)
    ]
    shop.ruby(f"Sidekiq::ScheduledSet.new.find_job('{jobs[0].id}').delete")
    shop.ruby(f"Sidekiq::ScheduledSet.new.find_job('{jobs[1].id}').add_to_queue")
    shop.ruby(f"Sidekiq::ScheduledSet.new.find_job('{jobs[2].id}').reschedule(Time.now.to_f)")
    shop.worker("ours")
    assert sorted(shop.until_said("HardJob", 2)) == [[1, "-"], [2, "-"]]
    assert shop.ruby("Sidekiq::ScheduledSet.new.size") == 0


def test_our_queues_are_listed_with_their_size_and_latency(shop):
    for n in range(3):
        shop.jobs.tasks["HardJob"].using(queue="ours").enqueue(n)
    name, size, latency, args = shop.ruby(
        "queue = Sidekiq::Queue.all.first; [queue.name, queue.size, queue.latency, "
        "queue.map(&:display_args)]"
    )
    assert (name, size) == ("ours", 3)
    assert 0 <= latency < 60
    assert args == [[{"order_id": n}] for n in (2, 1, 0)]
    shop.ruby("Sidekiq::Queue.new('ours').clear")
    assert shop.jobs.store.count() == []


def test_the_latency_of_a_job_that_came_due_counts_from_then(shop, raw_schedule):
    raw_schedule("ruby", made=10_000)
    shop.jobs.tasks["HardJob"].using(queue="ours", delay=0.05).enqueue(1)
    assert wait_until(
        lambda: {one.queue: one.ready for one in shop.jobs.store.count()} == {"ours": 1, "ruby": 1},
        "both are ready",
    )
    latencies = shop.ruby("%w[ours ruby].map { |name| Sidekiq::Queue.new(name).latency }")
    assert all(0 <= latency < 1_000 for latency in latencies)


@pytest.fixture
def raw_schedule(shop):
    """Puts a job of Ruby's among the scheduled, made a while ago and due by now."""

    def put(queue: str, *, made: float) -> None:
        now = float(shop.ruby("Time.now.to_f"))
        job = {"class": "RubyJob", "args": [{"enqueued_at": 5}], "queue": queue, "jid": "f" * 24}
        shop.raw.sadd("queues", queue)
        shop.raw.zadd("schedule", {json.dumps({**job, "created_at": now - made}): now - 1})

    return put


def test_our_worker_is_a_process_with_what_it_runs(shop):
    worker = shop.worker("ours")
    job = shop.jobs.tasks["held"].enqueue("one")
    shop.until_said("held")
    code = (
        "process = Sidekiq::ProcessSet.new.first; [process['hostname'], process['concurrency'], "
        "process['busy'], process.queues, process.labels, process.stopping?, "
        "process['rss'] > 1000, process.identity]"
    )
    seen = wait_until(lambda: (now := shop.ruby(code))[2] == 1 and now, "it is shown as busy")
    info = shop.jobs.store.workers()[0]
    assert seen[1:7] == [info.concurrency, 1, ["ours"], ["turnout"], False, True]
    assert seen[7] == info.name
    [[identity, payload]] = shop.ruby(
        "Sidekiq::WorkSet.new.map { |process, _, work| [process, work['payload']] }"
    )
    assert (identity, payload["jid"], payload["class"]) == (info.name, job.id, "held")
    (shop.folder / "go-one").touch()
    wait_until(lambda: shop.ruby("Sidekiq::WorkSet.new.to_a.size") == 0, "it is done")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert shop.ruby("[Sidekiq::ProcessSet.new.size, Sidekiq::Stats.new.processes_size]") == [0, 0]


def test_rubys_orders_to_our_worker_are_obeyed(shop):
    worker = shop.worker("ours")
    shop.ruby("Sidekiq::ProcessSet.new.first.dump_threads")
    wait_until(lambda: "Thread 0x" in shop.logs(), "it shows its threads")
    shop.ruby("Sidekiq::ProcessSet.new.first.quiet!")
    wait_until(lambda: shop.ruby("Sidekiq::ProcessSet.new.first.stopping?"), "it is quiet")
    job = shop.jobs.tasks["held"].enqueue("never")
    assert worker.poll() is None
    shop.ruby("Sidekiq::ProcessSet.new.first.stop!")
    assert worker.wait(30) == 0
    assert job.refresh().state is State.QUEUED


def test_what_ran_is_counted_in_sidekiqs_statistics(shop):
    shop.worker("ours")
    for n in range(3):
        shop.jobs.tasks["HardJob"].using(queue="ours").enqueue(n)
    failed(shop)
    code = "stats = Sidekiq::Stats.new; [stats.processed, stats.failed, stats.retry_size]"
    wait_until(lambda: shop.ruby(code) == [4, 1, 1], "all are counted")
    code = "stats = Sidekiq::Stats::History.new(1); [stats.processed.values, stats.failed.values]"
    assert shop.ruby(code) == [[4], [1]]
