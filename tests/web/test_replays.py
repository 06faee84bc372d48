"""Replays at the dashboard: a count that changes nothing, a form, progress, and a stop."""

from __future__ import annotations

import pytest

from turnout.job import State
from turnout.replay import Plan
from turnout.worker.replayer import Replayer

PLAN = {"rate": "", "canary": "0", "canary_share": "90", "canary_within": "60", "stop_at": ""}


def test_counting_changes_nothing(shop, admin):
    jobs = [shop.dead(n) for n in range(3)]
    text = admin.get("/replays/new?q=state:dead")
    assert "3 jobs would go back to their queues" in text
    assert admin.json("/replays/new.json?q=task:shop.mail")["jobs"] == 0
    assert {shop.state(one) for one in jobs} == {State.DEAD}
    assert admin.json("/replays.json")["replays"] == []


def test_begin_watch_and_see_it_done(shop, admin):
    job_id = shop.dead()
    text = admin.follow("/replays/start", q="task:shop.charge", **PLAN)
    assert "The replay began" in text
    Replayer(shop.app, "w").step()
    assert shop.state(job_id) is State.QUEUED
    [one] = admin.json("/replays.json")["replays"]
    assert (one["phase"], one["sent"], one["expected"]) == ("finishing", 1, 1)
    assert (one["by"], one["query"]) == ("anna-admin", "task:shop.charge")


def test_it_says_that_nobody_drives(shop, admin):
    assert "No worker is running: a replay goes on when one does." in admin.get("/replays")


def test_stop_one(shop, admin):
    shop.dead()
    replay = shop.app.replays.start(plan=Plan(rate=1.0))
    assert "What it sent stays" in admin.follow("/replays/stop", id=replay.id)
    Replayer(shop.app, "w").step()
    [one] = admin.json("/replays.json")["replays"]
    assert (one["phase"], one["why"], one["sent"]) == ("stopped", "by anna-admin", 0)
    admin.post("/replays/stop", code=404, id="none")


def test_each_action_is_in_the_audit_log(shop, admin):
    shop.dead()
    admin.post("/replays/start", q="state:dead", **PLAN)
    [one] = admin.json("/replays.json")["replays"]
    admin.post("/replays/stop", id=one["id"])
    stopped, begun = admin.json("/audit.json")["entries"]
    assert (begun["action"], begun["count"]) == ("replay", 1)
    assert begun["subject"] == f"{one['id']}: state:dead"
    assert (stopped["action"], stopped["subject"]) == ("stop replay", one["id"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"q": "state:running"}, "running jobs cannot be replayed"),
        ({"rate": "fast"}, "rate is a number"),
        ({"rate": "0"}, "rate must be more than 0"),
        ({"rate": "nan"}, "rate is a number"),
        ({"canary": "1.5"}, "whole number of jobs"),
        ({"canary": "1e300"}, "canary must be a whole number"),
        ({"stop_at": "300"}, "stop_at is a share"),
    ],
)
def test_faults_come_back_to_the_form(shop, admin, fields, said):
    form = {"q": "state:dead", **PLAN, **fields}
    assert said in admin.post("/replays/start", code=400, **form).text
    assert admin.json("/replays.json")["replays"] == []


def test_a_viewer_sees_and_does_not_act(shop, open_as):
    shop.app.replays.start()
    viewer = open_as("viewer")
    text = viewer.get("/replays")
    assert "Stop</button>" not in text
    viewer.get("/replays/new", code=403)
    viewer.post("/replays/start", code=403, q="state:dead", **PLAN)
    viewer.post("/replays/stop", code=403, id=shop.app.replays.all()[0].id)


def test_who_may_not_read_arguments_may_not_replay_by_them(shop, open_as, admin):
    shop.refund.enqueue(7, "tok_secret")
    shop.end(State.DEAD, error="shop.CardError", message="no")
    operator = open_as("operator")
    operator.get("/replays/new?q=arg.card:tok_secret", code=403)
    operator.post("/replays/start", code=403, q="arg.card:tok_secret", **PLAN)
    admin.get("/replays/new?q=arg.card:tok_secret")


def test_ways_to_the_form(shop, admin, open_as):
    shop.dead()
    assert "/replays/new?q=state%3Adead" in admin.get("/dead")
    group = admin.get("/dead/group?task=shop.charge&error=shop.CardError")
    query = "state%3Adead+task%3A%22shop.charge%22+error%3A%22shop.CardError%22"
    assert f"/replays/new?q={query}" in group
    assert "1 job would go back to its queue" in admin.get(f"/replays/new?q={query}")
    assert "/replays/new?q=state%3Adead" in admin.get("/jobs?q=state:dead")
    assert "/replays/new" not in admin.get("/jobs?q=state:dead,succeeded")
    assert "/replays/new" not in open_as("viewer").get("/dead")
