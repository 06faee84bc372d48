"""`turnout stats`: what workers have counted, as a table and as JSON."""

from __future__ import annotations

import time

import pytest

from turnout.metrics import OTHER, Measured, Spread, bucketed


@pytest.fixture
def record(shop):
    numbers = iter(range(1, 100))

    def put(task="charge", queue="critical", age=60.0, runs=(0.02, 0.02, 0.02, 4.0), **outcomes):
        at = int(time.time() - age) // 60 * 60
        row = Measured(
            at=at,
            task=task,
            queue=queue,
            outcomes=outcomes or {"succeeded": len(runs)},
            run=Spread(sum(runs), dict(bucketed(runs))),
            wait=Spread(1.0, {20: len(runs)}),
        )
        shop.store.record_metrics("w", next(numbers), [row])

    return put


def test_tasks_are_listed_by_the_time_they_took(cli, record):
    record("mail", runs=(0.005,))
    record("charge", succeeded=2, retried=1, dead=1)
    lines = cli("stats").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["task", "charge", "mail"]
    assert lines[1].split()[1:3] == ["4", "2"]


def test_programs_get_every_figure(cli, record):
    record(succeeded=3, dead=1)
    seen = cli.json("stats", "--last", "1h")
    [task] = seen["tasks"]
    assert (seen["step"], task["task"], task["queue"], task["attempts"]) == (60, "charge", None, 4)
    assert task["outcomes"] == {"succeeded": 3, "dead": 1}
    assert task["run"]["p50"] == pytest.approx(0.02, rel=0.2)
    assert task["run"]["p99"] == pytest.approx(4.0, rel=0.2)
    assert task["run"]["mean"] == pytest.approx(4.06 / 4)


def test_a_longer_look_reads_coarser_steps(cli, record):
    record()
    record(age=3 * 86_400)
    assert [one["attempts"] for one in cli.json("stats")["tasks"]] == [4]
    week = cli.json("stats", "--last", "7d")
    assert (week["step"], week["tasks"][0]["attempts"]) == (3_600, 8)


def test_queues_and_one_task(cli, record):
    record("charge", "a")
    record("charge", "b")
    record("mail", "a")
    assert len(cli.json("stats")["tasks"]) == 2
    by_queue = cli.json("stats", "--by-queue", "--task", "charge")["tasks"]
    assert [(one["task"], one["queue"]) for one in by_queue] == [("charge", "a"), ("charge", "b")]
    assert cli("stats", "--by-queue").stdout.splitlines()[0].split()[:2] == ["task", "queue"]


def test_what_was_too_much_to_tell_apart_has_a_name(cli, record):
    record(OTHER, OTHER)
    assert "(other)" in cli("stats").stdout


def test_nothing_counted_is_said(cli, shop):
    shop.ready()
    assert "did a worker run?" in cli("stats").stdout
    assert cli.json("stats")["tasks"] == []


@pytest.mark.parametrize("length", ["0s", "93d"])
def test_a_length_that_is_not_kept_is_refused(cli, shop, length):
    assert "92 days" in cli("stats", "--last", length, code=2).output
