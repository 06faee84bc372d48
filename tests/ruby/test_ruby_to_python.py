"""Ruby enqueues, Python runs: Sidekiq's own classes and Active Job's, and what fails there."""

from __future__ import annotations

import json

import pytest

from ruby.conftest import wait_until
from turnout import State
from turnout.job import JobFilter, JobId


def test_what_ruby_enqueues_runs_in_python(shop):
    shop.worker("python")
    jid = shop.ruby('HardJob.perform_async(1, "x")')
    shop.ruby('HardJob.perform_bulk([[2], [3, "y"]])')
    assert sorted(shop.until_said("HardJob", 3)) == [[1, "x"], [2, "-"], [3, "y"]]
    [record] = wait_until(lambda: found(shop, jid, State.SUCCEEDED), "it is recorded as done")
    assert (record.task, record.queue) == ("HardJob", "python")
    wait_until(lambda: shop.ruby("Sidekiq::Stats.new.processed") == 3, "all are counted")


def found(shop, jid, *states):
    return shop.jobs.store.find(JobFilter(ids=(JobId(jid),), states=states))


def test_what_ruby_schedules_runs_in_python_when_it_is_due(shop):
    shop.worker("python")
    shop.ruby("HardJob.perform_in(0.5, 7); HardJob.perform_in(1000, 8)")
    assert shop.until_said("HardJob") == [[7, "-"]]
    assert shop.ruby("Sidekiq::ScheduledSet.new.map(&:args)") == [[8]]


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        ("HardJob.perform_async", "missing a required argument: 'order_id'"),
        ('HardJob.perform_async(1, "x", 3)', "too many positional arguments, of 3 given"),
        ('HardJob.perform_async("one")', "Expected `int`, got `str`"),
        ('HardJob.perform_async(1, "broken")', "no such order"),
    ],
)
def test_a_failed_attempt_is_in_rubys_retry_set_with_its_story(shop, call, complaint):
    shop.worker("python")
    jid = shop.ruby(call)
    wait_until(lambda: shop.raw.zcard("retry"), "it waits for its retry")
    seen = shop.ruby(
        "Sidekiq::RetrySet.new.map { |job| [job.jid, job.klass, job['error_class'], "
        "job['error_message'], job['retry_count'], job.error_backtrace] }"
    )
    [[found_jid, name, error, message, count, backtrace]] = seen
    assert (found_jid, name, count) == (jid, "HardJob", 0)
    assert error in {"turnout.errors.ArgumentError", "LookupError"}
    assert complaint in message
    assert backtrace[0].startswith("Traceback")
    assert shop.ruby("[Sidekiq::Stats.new.failed, Sidekiq::Stats.new.retry_size]") == [1, 1]


@pytest.mark.parametrize(
    ("options", "dead", "state"),
    [
        ("retry: 0", 1, State.DEAD),
        ("retry: false", 0, State.DISCARDED),
        ("retry: 0, dead: false", 0, State.DISCARDED),
    ],
)
def test_the_jobs_own_retries_are_honoured(shop, options, dead, state):
    shop.worker("python")
    jid = shop.ruby(f'HardJob.set({options}).perform_async(1, "broken")')
    [record] = wait_until(lambda: found(shop, jid, state), "it has ended")
    assert record.attempt == 1
    assert shop.ruby("[Sidekiq::DeadSet.new.size, Sidekiq::RetrySet.new.size]") == [dead, 0]


def test_a_job_that_fails_in_ruby_is_taken_over(shop):
    sidekiq = shop.sidekiq("ruby")
    jid = shop.ruby("BrokenJob.perform_async(5)")
    wait_until(lambda: shop.raw.zcard("retry"), "it failed in Ruby")
    sidekiq.terminate()
    sidekiq.wait(20)
    [record] = found(shop, jid)
    assert (record.attempt, record.error) == (1, "ArgumentError")
    assert record.message == "no such order: 5"
    shop.worker("ruby")
    assert shop.jobs.store.change(JobFilter(ids=(JobId(jid),)), "retry") == 1
    assert shop.until_said("BrokenJob in Python") == [[5]]
    [record] = wait_until(lambda: found(shop, jid, State.SUCCEEDED), "it is done")
    assert record.attempt == 2


def test_active_jobs_arguments_arrive_as_values(shop):
    shop.worker("python")
    shop.ruby(
        "PythonCleanupJob.perform_later(Guest.new(7), at: Time.at(1_700_000_000.25).utc, "
        "day: Date.new(2026, 2, 3), span: 90.seconds, kind: :vip, "
        "left: {'a' => [1, nil, :b], c: 2.5})"
    )
    assert shop.until_said("PythonCleanupJob") == [
        ["Guest", "7", 1_700_000_000.25, "2026-02-03", 90.0, "vip", {"a": [1, None, "b"], "c": 2.5}]
    ]


def test_rubys_queues_are_left_alone_unless_they_are_named(shop):
    shop.ruby("RubyJob.perform_async(1, 'x'); RubyJob.set(queue: 'default').perform_async(2, 'y')")
    shop.worker()
    shop.jobs.tasks["held"].enqueue("done")
    (shop.folder / "go-done").touch()
    shop.until_said("held")
    assert shop.ruby("Sidekiq::Stats.new.queues") == {"ruby": 1, "default": 1, "ours": 0}
    foreign = {one.queue: one.foreign for one in shop.jobs.store.count()}
    assert foreign == {"ruby": True, "default": True, "ours": False}


def test_a_class_that_a_worker_does_not_know_goes_back_and_runs_in_ruby(shop):
    worker = shop.worker("ruby")
    jid = shop.ruby("RubyJob.perform_async(1, 'x', {'a' => 1})")
    wait_until(lambda: shop.raw.zcard("schedule"), "it was put back")
    worker.terminate()
    worker.wait(20)
    [text] = shop.raw.zrange("schedule", 0, -1) or shop.raw.lrange("queue:ruby", 0, -1)
    assert json.loads(text)["args"] == [1, "x", {"a": 1}]
    shop.sidekiq("ruby")
    assert shop.until_said("RubyJob") == [[1, "x", {"a": 1}, jid]]
