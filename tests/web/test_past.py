"""The pages of what workers counted: every task, one task, and the first page's charts."""

from __future__ import annotations

import time

import pytest

from turnout.job import State
from turnout.metrics import Measured, Spread, bucketed
from turnout.web.past import SPANS, Archive


@pytest.fixture
def counted(shop):
    """Two tasks that ran in this minute and in the one before; one of them failed at times."""
    minute = int(time.time()) // 60 * 60
    run, wait = [0.010] * 90 + [0.500] * 10, [0.002] * 100
    rows = [
        Measured(
            at=at,
            task=task,
            queue="critical",
            outcomes={"succeeded": 100 - failed, "retried": failed},
            run=Spread(sum(run), bucketed(run)),
            wait=Spread(sum(wait), bucketed(wait)),
        )
        for at in (minute, minute - 60)
        for task, failed in (("shop.charge", 7), ("shop.mail", 0))
    ]
    shop.store.record_metrics("web1", 1, rows)
    return shop


def test_all_tasks_with_their_counts_and_durations(counted, admin):
    seen = admin.json("/tasks.json")
    assert {one["task"]: one["attempts"] for one in seen["tasks"]} == {
        "shop.charge": 200,
        "shop.mail": 200,
    }
    charge = next(one for one in seen["tasks"] if one["task"] == "shop.charge")
    assert charge["outcomes"] == {"succeeded": 186, "retried": 14}
    assert charge["run"]["p50"] == pytest.approx(0.010, rel=0.2)
    assert charge["run"]["p99"] == pytest.approx(0.500, rel=0.2)
    assert seen["idle"] == ["shop.refund"]
    page = admin.get("/tasks")
    assert "Attempts per minute" in page
    assert ">14<" in page, "the failed ones"


def test_one_task_with_its_history_and_spread(counted, admin):
    seen = admin.json("/tasks/one.json?task=shop.charge&last=1d")
    assert seen["step"] == 600
    assert sum(step["attempts"] for step in seen["steps"]) == 200
    assert sum(step["failed"] for step in seen["steps"]) == 14
    page = admin.get("/tasks/one?task=shop.charge")
    assert "Run time, from" in page
    assert "Wait, from" in page
    assert 'aria-current="true">An hour' in page


def test_a_task_that_never_ran_and_one_that_is_not_known(shop, admin):
    assert "Nothing was counted in that time" in admin.get("/tasks/one?task=shop.charge")
    assert "This process does not know the task" in admin.get("/tasks/one?task=shop.nothing")


@pytest.mark.parametrize("query", ["?last=2h", "?last=", "?last=1h%00"])
def test_other_spans_are_refused_with_those_there_are(admin, query):
    for path in ("/", "/tasks", "/tasks/one"):
        more = "&task=shop.charge" if path == "/tasks/one" else ""
        assert admin.client.get(f"{path}{query}{more}").status_code == 400


def test_the_first_page_draws_what_was_counted(counted, admin):
    page = admin.get("/?last=7d")
    assert "Failed attempts per minute" in page
    assert 'aria-current="true">7 days' in page


@pytest.mark.parametrize("span", SPANS)
def test_every_span_has_all_its_steps_and_a_rate_of_the_last_one(counted, span):
    now = time.time()
    past = Archive(lambda: counted.store, lambda: now).look(span)
    assert past.steps[0].at <= now - SPANS[span]
    assert past.steps[-1].at <= now < past.steps[-1].at + past.step
    assert len(past.steps) == pytest.approx(SPANS[span] / past.step, abs=2)
    attempts = sum(one.attempts for one in past.steps)
    assert attempts == 400
    rates = past.line(lambda step: step.attempts)
    assert max(rate for _, rate in rates) <= attempts * 2


def test_one_look_serves_everybody_for_a_while(counted):
    asked: list[int] = []
    real = counted.store.metrics

    def metrics(step, **more):
        asked.append(step)
        return real(step, **more)

    counted.store.metrics = metrics
    archive = Archive(lambda: counted.store, time.time)
    assert archive.look("1h") is archive.look("1h")
    archive.look("1d")
    assert asked == [60, 600]
    for n in range(200):
        archive.look("1h", f"task {n}")
    assert len(archive._looks) <= 64


def test_a_task_shows_its_newest_jobs_and_hides_what_is_hidden(admin, shop):
    job_id = shop.refund.enqueue(1, "4242-4242").id
    shop.mail.enqueue("a@example.com")
    page = admin.get("/tasks/one?task=shop.refund")
    assert job_id in page
    assert "[hidden]" in page
    assert "4242-4242" not in page
    seen = admin.json("/tasks/one.json?task=shop.refund")
    assert [job["id"] for job in seen["jobs"]] == [job_id]
    assert "No job of it is kept" in admin.get("/tasks/one?task=shop.charge")


def test_a_tasks_page_says_what_it_dies_of(admin, shop):
    shop.dead(1)
    shop.dead(2)
    shop.dead(3, error="shop.Timeout")
    shop.mail.enqueue("a@example.com")
    shop.end(State.DEAD, queue="mail", error="shop.MailboxFull", message="full")
    seen = admin.json("/tasks/one.json?task=shop.charge")
    told = [(one["error"], one["count"]) for one in seen["groups"]]
    assert told == [("shop.CardError", 2), ("shop.Timeout", 1)]
    assert seen["groups_complete"] is True
    page = admin.get("/tasks/one?task=shop.charge")
    assert "What it dies of" in page
    assert "MailboxFull" not in page
    assert "What it dies of" not in admin.get("/tasks/one?task=shop.refund")
