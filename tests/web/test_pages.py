"""What the pages show and do, asked over HTTP."""

from __future__ import annotations

import gzip
import re
import threading

import pytest

from turnout.job import State
from turnout.web.routes import SPOTS

PAGES = [spot.path for spot in SPOTS if spot.method == "GET" and "{id}" not in spot.path]
OF_ONE = ("/dead/group", "/tasks/one", "/workers/one")  # of a thing that is named
UNKNOWN = "01a216e5-379d-7f31-8bfe-15bc69b13ddd"


@pytest.mark.parametrize("path", [path for path in PAGES if path not in OF_ONE])
def test_every_page_opens_on_an_empty_store(admin, path):
    assert "<h1>" in admin.get(path)


@pytest.mark.parametrize("path", [path for path in PAGES if path not in OF_ONE])
def test_every_page_is_json_too(admin, shop, path):
    shop.dead()
    by_suffix = admin.json(("/overview" if path == "/" else path) + ".json")
    by_accept = admin.client.get(path, headers={"accept": "application/json"}).json()
    assert by_suffix.keys() == by_accept.keys()


def test_the_overview_shows_queues_totals_errors_and_workers(admin, shop):
    shop.dead()
    shop.mail.enqueue("a@example.com")
    shop.store.pause("mail", paused=True)
    page = admin.get("/")
    for text in ("critical", "mail", "Queue mail is paused", "shop.CardError", "declined", "web1:"):
        assert text in page
    seen = admin.json("/overview.json")
    assert seen["totals"]["dead"] == 1
    assert seen["totals"]["ready"] == 1
    assert [row["forecast"]["kind"] for row in seen["queues"]] == ["empty", "paused"]


def test_the_first_load_is_small(admin, shop):
    for n in range(60):
        shop.mail.enqueue(f"{n}@example.com")
    page = admin.get("/")
    assets = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
    assert len(assets) == 3
    parts = [page, *(admin.get(asset) for asset in assets)]
    assert sum(len(part.encode()) for part in parts) < 60_000
    assert sum(len(gzip.compress(part.encode())) for part in parts) < 20_000


def test_files_travel_compressed_and_pages_which_hold_a_token_do_not(admin):
    [style] = re.findall(r'href="(/static/turnout.css[^"]+)"', admin.get("/"))
    for path, known, coding in ((style, "gzip", "gzip"), (style, "", None), ("/", "gzip", None)):
        answer = admin.client.get(path, headers={"accept-encoding": known})
        assert answer.headers.get("content-encoding") == coding


def test_pausing_and_resuming_a_queue(admin, shop):
    shop.mail.enqueue("a@example.com")
    assert "The queue is paused" in admin.follow("/queues/pause", queue="mail", paused="yes")
    assert [one.paused for one in shop.store.count()] == [True]
    assert "resumed" in admin.follow("/queues/pause", queue="mail", paused="no")
    assert [one.paused for one in shop.store.count()] == [False]


def test_a_queue_that_is_not_there_is_not_paused(admin, shop):
    shop.mail.enqueue("a@example.com")
    answer = admin.post("/queues/pause", code=404, queue="mial", paused="yes")
    assert "nothing was changed" in answer.text
    assert [one.queue for one in shop.store.count()] == ["mail"]


def test_a_dead_job_shows_its_story_and_runs_again(admin, shop):
    job_id = shop.dead()
    page = admin.get(f"/jobs/{job_id}")
    for text in (
        "shop.CardError",
        "declined",
        "Traceback",
        "Attempt 1 failed for good",
        "Run again",
    ):
        assert text in page
    assert "back in its queue" in admin.follow(f"/jobs/{job_id}/act", action="retry")
    assert shop.state(job_id) is State.QUEUED


def test_edited_arguments_are_checked_and_make_a_new_job(admin, shop):
    job_id = shop.dead(order_id=7)
    form = admin.get(f"/jobs/{job_id}/edit")
    assert "shop.charge(order_id: int, note: str = &#39;&#39;)" in form
    refused = admin.post(f"/jobs/{job_id}/again", code=400, args='{"order_id": "seven"}').text
    assert "Expected `int`, got `str`" in refused
    assert "seven" in refused, "what was typed is still there"
    to = admin.post(f"/jobs/{job_id}/again", args='{"order_id": 8}').headers["location"]
    made = shop.app.job(to.split("/")[-1].partition("?")[0]).refresh()
    assert (made.task, made.queue, made.args) == ("shop.charge", "critical", '{"order_id":8}')
    assert shop.state(job_id) is State.DEAD


def test_running_again_keeps_the_context(admin, shop):
    job_id = shop.put(args='{"order_id":1}', context='{"tenant":"t1"}', priority=7)
    to = admin.post(f"/jobs/{job_id}/again").headers["location"]
    made = shop.app.job(to.split("/")[-1].partition("?")[0]).refresh()
    assert (made.context, made.priority) == ('{"tenant":"t1"}', 7)


def test_a_taken_unique_key_is_told(admin, shop):
    job_id = shop.mail.enqueue("a@example.com").id
    text = admin.post(f"/jobs/{job_id}/again", code=409).text
    assert "Another job holds its unique key" in text


def test_an_unknown_task_cannot_be_edited(admin, shop):
    job_id = shop.put(task="shop.gone")
    assert "knows no task named shop.gone" in admin.get(f"/jobs/{job_id}")
    assert "knows no task" in admin.get(f"/jobs/{job_id}/edit", code=409)


def test_a_trace_has_no_arguments_to_run_again(admin, shop):
    job_id = shop.succeeded(result=None)
    shown = admin.json(f"/jobs/{job_id}.json")
    assert shown["job"]["state"] == "succeeded"
    if shown["job"]["args"] is None:
        assert "only the trace" in admin.post(f"/jobs/{job_id}/again", code=409).text


def test_deleting_asks_first(admin, shop):
    job_id = shop.dead()
    asked = admin.post(f"/jobs/{job_id}/act", code=200, action="delete").text
    assert "Delete 1 job?" in asked
    assert shop.state(job_id) is State.DEAD
    admin.post("/jobs/act", action="delete", sure="yes", id=[job_id])
    assert "No trace of job" in admin.get(f"/jobs/{job_id}", code=404)


def test_ticked_jobs_are_changed_together(admin, shop):
    ids = [shop.dead(n) for n in range(3)]
    page = admin.follow("/jobs/act", action="retry", id=ids, q="state:dead")
    assert "Done." in page
    assert {shop.state(one) for one in ids} == {State.QUEUED}


def test_a_running_job_is_asked_to_stop_once(admin, shop):
    job_id = shop.running()
    assert "asked to stop" in admin.follow(f"/jobs/{job_id}/act", action="cancel")
    assert "Nothing was changed" in admin.follow(f"/jobs/{job_id}/act", action="cancel")


def test_dead_jobs_are_grouped_counted_and_retried_in_steps(admin, shop, monkeypatch):
    monkeypatch.setattr("turnout.web.groups.BATCH", 2)
    monkeypatch.setattr("turnout.web.groups.STEP", 4)
    for n in range(9):
        shop.dead(n)
    shop.dead(99, error="other.KeyError")
    seen = admin.json("/dead.json")
    assert [(g["error"], g["count"]) for g in seen["groups"]] == [
        ("shop.CardError", 9),
        ("other.KeyError", 1),
    ]
    group = {"task": "shop.charge", "error": "shop.CardError"}
    counted = admin.client.get("/dead/group.json", params=group).json()
    assert (counted["count"], counted["more"]) == (4, True)
    assert sum(one.dead for one in shop.store.count()) == 10, "counting changes nothing"
    answer = admin.post("/dead/act", action="retry", **group)
    assert sum(one.dead for one in shop.store.count()) == 6
    page = admin.client.get(answer.headers["location"]).text
    assert "4 jobs changed so far" in page
    steps = 0
    while "Retry the next" in page or re.search(r"Retry \d+ job", page):
        after = re.search(r'name="after" value="([^"]*)"', page)
        page = admin.follow("/dead/act", action="retry", done=4, after=after[1], **group)
        steps += 1
        assert steps < 5
    assert sum(one.dead for one in shop.store.count()) == 1


def test_dead_jobs_without_an_exception_are_a_group_too(admin, shop):
    shop.dead()
    shop.charge.enqueue(1)
    shop.end(State.DEAD, reason="its worker died under it 3 times")
    groups = admin.json("/dead.json")["groups"]
    assert {(g["error"], g["message"]) for g in groups} == {
        ("shop.CardError", "declined"),
        (None, "its worker died under it 3 times"),
    }
    admin.post("/dead/act", action="delete", task="shop.charge", error="")
    assert [g["error"] for g in admin.json("/dead.json")["groups"]] == ["shop.CardError"]


def test_pages_follow_each_other_without_a_gap(admin, shop):
    made = [shop.charge.enqueue(n).id for n in range(23)]
    seen, after = [], None
    while True:
        query = "?limit=5" + (f"&after={after}" if after else "")
        page = admin.json("/jobs.json" + query)
        seen += [job["id"] for job in page["jobs"]]
        after = page["next"]
        if after is None:
            break
    assert seen == sorted(made, reverse=True)


def test_a_search_that_runs_out_of_time_goes_on_where_it_stopped(admin, shop, monkeypatch):
    monkeypatch.setattr("turnout.finding.FEW", 10)
    monkeypatch.setattr("turnout.finding.CHUNK", 4)
    monkeypatch.setattr("turnout.finding.MOST_LOOKED_AT", 8)
    wanted = shop.mail.enqueue("a@example.com").id
    for n in range(20):
        shop.charge.enqueue(n)
    page = admin.json("/jobs.json?q=queue:mail")
    assert (page["jobs"], page["end"], page["looked_at"]) == ([], "unfinished", 8)
    assert "Search older jobs" in admin.get("/jobs?q=queue:mail")
    steps = 0
    while page["end"] == "unfinished":
        page = admin.json(f"/jobs.json?q=queue:mail&after={page['next']}")
        steps += 1
        assert steps < 5
    assert [job["id"] for job in page["jobs"]] == [wanted]


def test_what_is_not_understood_is_said(admin, shop):
    shop.charge.enqueue(1)
    page = admin.get("/jobs?q=state:ded", code=400)
    assert "a state is one of queued, running" in page


def test_jobs_are_found_by_an_argument_but_never_by_a_hidden_one(admin, shop):
    found = shop.refund.enqueue(7, "4242-0001")
    shop.refund.enqueue(8, "4242-0002")
    ids = [job["id"] for job in admin.json("/jobs.json?q=arg.order_id:7")["jobs"]]
    assert ids == [found.id]
    assert admin.json("/jobs.json?q=arg.card:4242-0001")["jobs"] == []


def test_an_unknown_job_and_an_unknown_page(admin):
    assert "No trace of job" in admin.get(f"/jobs/{UNKNOWN}", code=404)
    assert "There is no such page" in admin.get("/nothing", code=404)
    assert admin.json("/nothing.json", code=404)["error"] == "Not found"


def test_every_action_is_in_the_audit_log(admin, shop, caplog):
    job_id = shop.dead()
    with caplog.at_level("INFO", logger="turnout.audit"):
        admin.post(f"/jobs/{job_id}/act", action="retry")
        admin.post("/queues/pause", queue="critical", paused="yes")
    lines = [r.getMessage() for r in caplog.records if r.name == "turnout.audit"]
    assert len(lines) == 2
    assert lines[0].startswith("anna-admin (admin, testclient) retry job")
    assert lines[1].endswith("pause queue critical: 1")
    entries = admin.json("/audit.json")["entries"]
    assert [one["action"] for one in entries] == ["pause", "retry"]
    assert "pause" in admin.get("/audit")


def test_a_store_that_is_away_is_told(shop, admin, monkeypatch):
    from turnout.errors import StoreUnavailable

    def away(**_):
        raise StoreUnavailable("no such host")

    monkeypatch.setattr(shop.store, "count", away)
    assert "The store cannot be reached" in admin.get("/", code=503)


def test_a_page_that_takes_too_long_is_given_up(shop, admin, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr("turnout.web.incoming.PATIENCE", 0.05)
    monkeypatch.setattr(shop.store, "describe", lambda: gate.wait(30))
    try:
        assert "took longer than" in admin.get("/store", code=503)
    finally:
        gate.set()


def test_too_many_slow_pages_are_refused_at_once(shop, admin, monkeypatch):
    monkeypatch.setattr("turnout.web.incoming._running", threading.BoundedSemaphore(1))
    gate, entered = threading.Event(), threading.Event()

    def slow():
        entered.set()
        gate.wait(30)
        raise AssertionError

    monkeypatch.setattr(shop.store, "describe", slow)
    monkeypatch.setattr("turnout.web.incoming.PATIENCE", 0.2)
    try:
        admin.get("/store", code=503)
        assert entered.is_set()
        assert "Too many pages wait" in admin.get("/queues", code=503)
    finally:
        gate.set()


def test_the_parts_of_a_store_are_shown(admin, shop, monkeypatch):
    from msgspec.structs import replace

    from turnout.job import Part

    parts = (
        Part(name="one", location="sqlite:///1.db", state="up", jobs=3),
        Part(name="two", location="sqlite:///2.db", state="away", note="no such file"),
    )
    info = replace(shop.store.describe(), parts=parts)
    monkeypatch.setattr(shop.store, "describe", lambda: info)
    page = admin.get("/store")
    for text in ("sqlite:///1.db", "away", "no such file"):
        assert text in page
    assert [one["state"] for one in admin.json("/store.json")["store"]["parts"]] == ["up", "away"]


def test_a_job_offers_what_is_possible(admin, shop):
    made = {
        "dead": (shop.dead(), ["retry", "delete"]),
        "running": (shop.running(), ["cancel"]),
        "ready": (shop.charge.enqueue(1).id, ["cancel", "delete"]),
        "scheduled": (
            shop.charge.using(delay=60).enqueue(1).id,
            ["retry", "cancel", "delete"],
        ),
    }
    for kind, (job_id, actions) in made.items():
        seen = admin.json(f"/jobs/{job_id}.json")
        assert (seen["job"]["kind"], seen["actions"]) == (kind, actions)
