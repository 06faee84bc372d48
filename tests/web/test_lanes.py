"""Lanes on the dashboard: added up with their queue, listed below it, found by it."""

from __future__ import annotations

import pytest

from turnout.job import QueueStats
from turnout.web.pulse import seen
from turnout.web.why import explain
from web.test_why import NOW, job, worker


@pytest.fixture
def mails(shop):
    """Two jobs of each of eight lanes, the first with three more, and one without a lane."""
    for tenant in range(8):
        for n in range(2 if tenant else 5):
            shop.mail.using(queue="mail", lane=f"t{tenant}").enqueue(f"{tenant}-{n}@example.com")
    shop.mail.using(queue="mail").enqueue("plain@example.com")


def test_a_queue_is_one_row_with_its_lanes_below(admin, mails):
    [row] = [one for one in admin.json("/queues.json")["queues"] if one["stats"]["queue"] == "mail"]
    assert (row["stats"]["ready"], row["lanes"]) == (20, 8)
    assert [one["queue"] for one in row["longest"]] == [f"mail~t{n}" for n in range(5)]
    page = admin.get("/queues")
    assert "8 lanes with jobs" in page
    assert "mail~t0" in page
    assert "mail~t7" not in page


def test_a_query_for_a_queue_finds_the_jobs_of_its_lanes(admin, mails):
    assert len(admin.json("/jobs.json?q=queue:mail")["jobs"]) == 20
    assert len(admin.json("/jobs.json?q=queue:mail~t0")["jobs"]) == 5
    assert len(admin.json("/jobs.json?q=queue:mail~*")["jobs"]) == 19


def test_a_lane_is_paused_by_its_name(admin, mails, shop):
    admin.post("/queues/pause", queue="mail~t0", paused="yes")
    assert shop.store.ready() == {"mail": 1, **{f"mail~t{n}": 2 for n in range(1, 8)}}
    assert "paused" in admin.get("/queues?said=paused")
    admin.post("/queues/pause", queue="mail", paused="yes")
    assert shop.store.ready() == {}


def test_a_name_that_is_no_lane_is_refused(admin, mails):
    admin.post("/queues/pause", code=400, queue="mail~a b", paused="yes")
    admin.post("/queues/pause", code=404, queue="mail~other", paused="yes")


@pytest.mark.parametrize("name", ["mail", "mail~a"])
def test_a_job_says_which_of_both_is_paused(name):
    stats = [QueueStats(queue=one, ready=1, paused=one == name) for one in ("mail", "mail~a")]
    [reason] = explain(job(queue="mail~a"), seen(NOW, stats, [worker()]), {"t"})
    assert (reason.kind, reason.text) == ("paused", f"Queue {name} is paused.")


def test_a_job_says_how_many_lanes_take_turns_with_its_own():
    stats = [QueueStats(queue=f"mail~{name}", ready=1) for name in "abc"]
    reasons = explain(job(queue="mail~a"), seen(NOW, stats, [worker(queues=("mail",))]), {"t"})
    assert reasons[0].text == "2 other lanes of queue mail take turns with this one."
