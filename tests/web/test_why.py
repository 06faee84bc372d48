"""Why is this job not running? Each reason, and what the story of a job says."""

from __future__ import annotations

import pytest

from turnout.ids import new_id
from turnout.job import AttemptRecord, JobRecord, QueueStats, State, WorkerInfo
from turnout.web.forecast import forecast, trend
from turnout.web.pulse import Look
from turnout.web.story import timeline
from turnout.web.why import explain

NOW = 10_000.0


def job(**fields):
    usual = {"id": new_id(), "task": "t", "queue": "mail", "state": State.QUEUED, "args": "{}"}
    usual |= {"enqueued_at": NOW - 100, "run_at": NOW - 50}
    return JobRecord(**{**usual, **fields})


def worker(**fields):
    usual = {"epoch": "e", "name": "w1", "host": "h", "pid": 1, "queues": (), "concurrency": 2}
    return WorkerInfo(**{**usual, "started_at": 0.0, "deadline": NOW + 30, **fields})


def look(*workers, **queue):
    return Look(NOW, (QueueStats(queue="mail", **{"ready": 1, **queue}),), workers)


def kinds(record, seen):
    return [one.kind for one in explain(record, seen, {"t"})]


ATTEMPT = AttemptRecord(
    attempt=1, started_at=NOW - 90, finished_at=NOW - 80, worker="w1", outcome="retried", error="E"
)


@pytest.mark.parametrize(
    ("record", "seen", "expected"),
    [
        (job(), look(worker()), ["next"]),
        (job(), look(worker(), paused=True), ["paused"]),
        (job(), look(), ["no_worker"]),
        (job(), look(worker(queues=("low",))), ["no_worker_for_queue"]),
        (job(), look(worker(queues=("low", "*"))), ["next"]),
        (job(), look(worker(state="quiet")), ["quiet"]),
        (job(), look(worker(running=2), ready=10), ["busy", "ahead"]),
        (job(), look(worker(), ready=10), ["ahead"]),
        (job(task="gone"), look(worker()), ["unknown_task"]),
        (job(task="gone"), look(paused=True), ["paused", "unknown_task", "no_worker"]),
        (job(run_at=NOW + 60), look(worker()), ["scheduled"]),
        (job(run_at=NOW + 60), look(), ["scheduled", "no_worker"]),
        (job(run_at=NOW + 60, attempt=1), look(worker()), ["retrying"]),
        (job(expires_at=NOW + 5), look(worker()), ["next", "expiring"]),
        (job(expires_at=NOW - 5), look(worker()), ["expired"]),
        (job(state=State.RUNNING, worker="w1"), look(worker()), ["leased"]),
        (job(state=State.RUNNING, worker="w2"), look(worker()), ["leased", "silent_worker"]),
        (
            job(state=State.RUNNING, worker="w1", cancel_requested=True),
            look(worker(deadline=NOW - 1)),
            ["leased", "stopping", "silent_worker"],
        ),
        (job(state=State.DEAD, error="E"), look(), ["final"]),
        (job(state=State.SUCCEEDED), look(), ["final"]),
    ],
)
def test_every_reason(record, seen, expected):
    assert kinds(record, seen) == expected


def test_the_reasons_say_what_to_do():
    [reason] = explain(job(), look(worker(queues=("low",))), {"t"})
    assert reason.text == "1 worker running, but none serves queue mail."
    assert reason.remedy == "Start one with --queues mail."
    [reason] = explain(job(run_at=NOW + 60, attempt=3, error="E"), look(worker()), {"t"})
    assert reason.text == "Attempt 3 failed with E; the next one is in 1m."


def test_the_story_names_waits_and_runs():
    record = job(
        state=State.SUCCEEDED, attempt=2, attempts=(ATTEMPT,), started_at=NOW - 20, finished_at=NOW
    )
    said = [one.text for one in timeline(record, NOW)]
    assert said == [
        "Enqueued",
        "Waited 10s: a delay, or its turn",
        "Attempt 1 failed with E",
        "Waited 1m: for its turn",
        "Attempt 2 succeeded",
    ]


@pytest.mark.parametrize(
    ("ready", "rate", "backlog", "kind"),
    [
        (0, 5, [], "empty"),
        (10, 0, [], "stuck"),
        (120, 60, [], "draining"),
        (120, 60, [(at, 240 - 2 * at) for at in range(0, 61, 5)], "draining"),
        (240, 60, [(at, 120 + 2 * at) for at in range(0, 61, 5)], "growing"),
        (120, 60, [(at, 120) for at in range(0, 61, 5)], "steady"),
    ],
)
def test_what_is_to_be_expected_of_a_queue(ready, rate, backlog, kind):
    found = forecast(QueueStats(queue="q", ready=ready, per_minute=rate), backlog)
    assert found.kind == kind


def test_a_forecast_by_its_numbers():
    falling = [(at, 240 - 2 * at) for at in range(0, 61, 5)]
    found = forecast(QueueStats(queue="q", ready=120, per_minute=60), falling)
    assert (found.seconds, found.text) == (pytest.approx(60), "empty in about 1m")
    paused = forecast(QueueStats(queue="q", ready=120, per_minute=60, paused=True), falling)
    assert paused.kind == "paused"


def test_a_short_history_is_no_trend():
    assert trend([]) is None
    assert trend([(0, 1), (5, 9)]) is None
