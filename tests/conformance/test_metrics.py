"""`record_metrics` and `metrics`: counted once, added up by steps, bounded."""

from __future__ import annotations

import threading

import pytest

from conformance.builders import DAY, HOUR, T
from turnout.errors import ConfigError
from turnout.job import Retention
from turnout.metrics import (
    EVER,
    KEPT,
    MOST_ROWS,
    MOST_TASKS,
    OTHER,
    Measured,
    Spread,
    bucketed,
    summed,
)
from turnout.store.protocol import KeepsMetrics

MINUTE = int(T) - int(T) % 60


def spread(*seconds: float) -> Spread:
    return Spread(sum(seconds), dict(bucketed(seconds)) if seconds else {})


def row(
    task="charge", queue="default", at=MINUTE, run=(0.02,), wait=(0.5,), **outcomes
) -> Measured:
    return Measured(
        at=at, task=task, queue=queue, outcomes=outcomes or {"succeeded": len(run)},
        run=spread(*run), wait=spread(*wait),
    )  # fmt: skip


def plain(rows) -> list[tuple[int, str, str, dict[str, int]]]:
    return [(one.at, one.task, one.queue, one.outcomes) for one in rows]


def test_every_store_keeps_metrics(store):
    assert isinstance(store, KeepsMetrics)
    assert store.metrics(60) == []


def test_what_is_recorded_comes_back_under_every_step(store):
    told = row(run=(0.02, 3.0, 0.02), wait=(0.5, 0.1, 7.0), succeeded=2, retried=1)
    store.record_metrics("w1", 1, [told], now=T)
    for step in KEPT:
        [found] = store.metrics(step)
        at = MINUTE - MINUTE % step if step else 0
        assert (found.at, found.task, found.queue) == (at, "charge", "default")
        assert found.outcomes == {"succeeded": 2, "retried": 1}
        assert found.run.counts == told.run.counts
        assert found.run.total == pytest.approx(3.04)
        assert found.wait.total == pytest.approx(7.6)


def test_further_rows_are_added(store):
    store.record_metrics("w1", 1, [row(succeeded=1)], now=T)
    store.record_metrics("w1", 2, [row(succeeded=2, dead=1, run=(40.0,))], now=T)
    store.record_metrics("w2", 1, [row(succeeded=4), row("mail")], now=T)
    charge, mail = store.metrics(60)
    assert charge.outcomes == {"succeeded": 7, "dead": 1}
    assert charge.run.counts == spread(0.02, 40.0, 0.02).counts
    assert mail.outcomes == {"succeeded": 1}


def test_a_call_that_is_repeated_counts_once(store):
    store.record_metrics("w1", 1, [row()], now=T)
    store.record_metrics("w1", 1, [row()], now=T)
    store.record_metrics("w1", 2, [row()], now=T)
    store.record_metrics("w1", 1, [row()], now=T + 1)
    store.record_metrics("w2", 1, [row()], now=T)
    for step in KEPT:
        assert [one.outcomes for one in store.metrics(step)] == [{"succeeded": 3}]


def test_rows_of_one_call_that_meet_in_a_step_are_added(store):
    rows = [row(at=MINUTE - 60 * n) for n in range(5)]
    store.record_metrics("w1", 1, rows, now=T)
    assert len(store.metrics(60)) == 5
    assert sum(one.n for one in store.metrics(600)) == 5
    assert [one.n for one in store.metrics(EVER)] == [5]


def test_reads_begin_at_a_time_and_may_name_a_task(store):
    rows = [row(at=MINUTE - 60), row(), row("mail"), row(queue="low")]
    store.record_metrics("w1", 1, rows, now=T)
    assert [one.at for one in store.metrics(60, since=MINUTE)] == [MINUTE] * 3
    assert [(one.task, one.queue) for one in store.metrics(60, since=MINUTE)] == [
        ("charge", "default"),
        ("charge", "low"),
        ("mail", "default"),
    ]
    assert plain(store.metrics(60, task="mail")) == [(MINUTE, "mail", "default", {"succeeded": 1})]
    assert store.metrics(60, task="nobody") == []


def test_names_are_kept_as_they_are(store):
    names = ["a", "A", "a ", "ä", "shop.tasks:charge 'x' \\ %s {}", "x" * 191]
    store.record_metrics("w1", 1, [row(name, queue=name) for name in names], now=T)
    assert {one.task for one in store.metrics(60)} == set(names)
    assert {one.queue for one in store.metrics(60)} == set(names)


def test_more_tasks_than_are_told_apart_count_as_other(store):
    rows = [row(f"t{n:04}") for n in range(MOST_TASKS + 50)]
    store.record_metrics("w1", 1, rows, now=T)
    store.record_metrics("w1", 2, [row("one more"), row("t0000")], now=T)
    for step in KEPT:
        found = {one.task: one.n for one in store.metrics(step)}
        assert len(found) == MOST_TASKS + 1
        assert found[OTHER] == 51
        assert found["t0000"] == 2
        assert sum(found.values()) == MOST_TASKS + 52


def test_what_is_past_its_keeping_is_not_recorded_under_that_step(store):
    store.record_metrics("w1", 1, [row(at=MINUTE - 86_400)], now=T)
    assert [len(store.metrics(step)) for step in KEPT] == [0, 1, 1, 1, 1]


def test_old_steps_are_pruned_and_the_sums_stay(store):
    store.record_metrics("w1", 1, [row()], now=T)
    store.prune(Retention(), now=T + HOUR)
    assert [len(store.metrics(step)) for step in KEPT] == [1, 1, 1, 1, 1]
    store.prune(Retention(), now=T + 4 * HOUR)
    assert [len(store.metrics(step)) for step in KEPT] == [0, 1, 1, 1, 1]
    store.prune(Retention(), now=T + 100 * DAY)
    assert [len(store.metrics(step)) for step in KEPT] == [0, 0, 0, 0, 1]


def test_too_much_in_one_call_is_refused(store):
    with pytest.raises(ConfigError, match="1,000 rows"):
        store.record_metrics("w1", 1, [row()] * (MOST_ROWS + 1), now=T)
    assert store.metrics(EVER) == []
    store.record_metrics("w1", 1, [row(at=MINUTE - 60 * n) for n in range(MOST_ROWS)], now=T)
    assert sum(one.n for one in store.metrics(EVER)) == MOST_ROWS


def test_an_unknown_step_is_refused_with_those_there_are(store):
    with pytest.raises(ConfigError, match="60, 600, 3600, 86400, 0"):
        store.metrics(61)


def test_sources_that_record_at_once_lose_nothing(store):
    barrier = threading.Barrier(4)
    troubles: list[BaseException] = []

    def work(n: int) -> None:
        barrier.wait()
        try:
            for number in range(1, 11):
                for _ in range(2):
                    store.record_metrics(f"w{n}", number, [row(), row("mail")], now=T)
        except BaseException as error:
            troubles.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert troubles == []
    assert [(one.task, one.n) for one in store.metrics(60)] == [("charge", 40), ("mail", 40)]


def test_the_store_s_own_clock_counts_without_another(store):
    store.record_metrics("w1", 1, [row(at=MINUTE)])  # of 2023: only the sums still keep that
    assert [len(store.metrics(step)) for step in KEPT] == [0, 0, 0, 0, 1]


def test_sums_leave_out_what_is_not_named():
    rows = [row(), row("mail"), row(queue="low"), row(at=MINUTE + 60)]
    assert plain(summed(rows, by=["task"])) == [
        (0, "charge", OTHER, {"succeeded": 3}),
        (0, "mail", OTHER, {"succeeded": 1}),
    ]
    assert [one.n for one in summed(rows, by=["at"])] == [3, 1]
    assert [one.n for one in summed(rows)] == [4]
