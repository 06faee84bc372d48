"""The query language: what it means, what it refuses; it and the stores agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout import finding
from turnout.job import JobFilter, JobId, JobRecord, State
from turnout.search import Query, parse, parse_length
from turnout.web.pulse import Look

NOW = 1_000_000.0
TASKS = ("shop.charge_card", "shop.charge_order", "shop.mail")
QUEUES = ("mail", "mail.bulk", "critical")
ID = "01a216e5-379d-7f31-8bfe-15bc69b13ddd"


def read(text):
    return parse(text, NOW, TASKS, QUEUES)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", {}),
        ("state:dead", {"states": (State.DEAD,)}),
        ("state:dead,ready", {"states": (State.DEAD,), "views": ("ready",)}),
        ("state:dead state:dead", {"states": (State.DEAD,)}),
        ("task:shop.mail", {"tasks": ("shop.mail",)}),
        ("task:charge_*", {"tasks": ("shop.charge_card", "shop.charge_order")}),
        ("task:shop.m*", {"tasks": ("shop.mail",)}),
        ("queue:mail*", {"queues": ("mail", "mail.bulk")}),
        ("queue:mail queue:critical", {"queues": ("mail", "critical")}),
        ('queue:"a b"', {"queues": ("a b",)}),
        ("error:shop.CardError", {"error": "shop.CardError"}),
        ("age>1h", {"before": NOW - 3_600}),
        ("age<15m age>1m", {"since": NOW - 900, "before": NOW - 60}),
        (f"id:{ID}", {"ids": (ID,)}),
        (ID.upper(), {"ids": (ID,)}),
    ],
)
def test_what_a_query_means(text, fields):
    found = read(text)
    assert found.faults == ()
    assert found == Query(text=text, remarks=found.remarks, **fields)


@pytest.mark.parametrize(
    "text",
    [
        "state:ded", "state:", "state>1h", "task:*", "task:*x", "task:a*b*", "error:Card*",
        "error:A error:B", "age:1h", "age>soon", "age>1", "age>", "colour:red", "hello", "id:1",
        "x" * 501, "state:dead " * 21, 'queue:""',
    ],
)  # fmt: skip
def test_what_is_refused(text):
    assert read(text).faults


def test_a_prefix_stands_for_a_bounded_number_of_names():
    names = tuple(f"t{n}" for n in range(50))
    found = parse("task:t*", NOW, names, ())
    assert len(found.tasks) == 20
    assert "fits 50 names" in found.remarks[0]


def test_a_prefix_that_fits_nothing_finds_nothing(shop):
    shop.charge.enqueue(1)
    query = read("task:nothing*")
    assert query.tasks == ()
    found = finding.find(shop.store, query, Look(NOW, (), ()), limit=5, after=None)
    assert (found.jobs, found.end) == ([], "complete")


@pytest.mark.parametrize(
    ("text", "args", "fits"),
    [
        ("arg.order_id:7", '{"order_id":7}', True),
        ("arg.order_id=7", '{"order_id":7}', True),
        ("arg.order_id:7.0", '{"order_id":7}', True),
        ("arg.order_id:7", '{"order_id":"7"}', True),
        ("arg.order_id:7", '{"order_id":77}', False),
        ("arg.order_id:1", '{"order_id":true}', False),
        ("arg.gift:true", '{"gift":true}', True),
        ("arg.gift:null", '{"gift":null}', True),
        ('arg.name:"Ann Lee"', '{"name":"Ann Lee"}', True),
        ("arg.to.city:Berlin", '{"to":{"city":"Berlin"}}', True),
        ("arg.to:Berlin", '{"to":{"city":"Berlin"}}', False),
        ("arg.0:7", "[7,8]", True),
        ("arg.2:7", "[7,8]", False),
        ("arg.x:7", "no JSON", False),
        ("arg.a:1 arg.b:2", '{"a":1,"b":2}', True),
        ("arg.a:1 arg.b:2", '{"a":1,"b":3}', False),
    ],
)
def test_arguments_are_compared_whole(text, args, fits):
    query = read(text)
    assert query.faults == ()
    assert query.exact() is None
    job = JobRecord(id=JobId("01a2"), task="t", queue="q", state=State.DEAD, args=args)
    assert query.holds(job, NOW) is fits


def test_a_job_whose_arguments_are_gone_is_not_found_by_them():
    gone = JobRecord(id=JobId("01a2"), task="t", queue="q", state=State.SUCCEEDED)
    assert not read("arg.order_id:null").holds(gone, NOW)


def test_jobs_are_found_by_an_argument_among_many(shop):
    meant = shop.dead(7)
    for order in range(8, 30):
        shop.dead(order)
    look = Look(shop.app.clock(), tuple(shop.store.count()), ())
    found = finding.find(shop.store, read("arg.order_id:7"), look, limit=5, after=None)
    assert ([job.id for job in found.jobs], found.end) == ([meant], "complete")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1h30m", 5_400), ("2d", 172_800), ("", None), ("1", None), ("1h x", None)],
)
def test_lengths(text, seconds):
    assert parse_length(text) == seconds


@given(st.text(max_size=600))
def test_no_text_breaks_it(text):
    found = read(text)
    assert len(found.faults) < 100


@pytest.mark.parametrize(
    "text",
    [
        "", "state:dead", "state:queued", "state:ready", "state:scheduled", "state:running",
        "state:dead,ready", "state:ready,scheduled", "queue:mail", "queue:mail queue:critical",
        "task:shop.charge", "error:CardError", "error:shop.CardError", "error:Other", "age>1h",
        "age<1h", "state:dead error:CardError queue:critical", "state:succeeded",
    ],
)  # fmt: skip
@pytest.mark.parametrize("few", [20_000, 0], ids=["by the store", "in steps"])
def test_it_finds_what_is_meant(shop, monkeypatch, text, few):
    monkeypatch.setattr(finding, "FEW", few)
    shop.dead(1)
    shop.dead(2, error="other.CardError")
    shop.succeeded()
    shop.mail.enqueue("a@example.com")
    shop.mail.using(delay=3_600).enqueue("b@example.com")
    shop.running()
    shop.charge.enqueue(3)
    look = Look(shop.app.clock(), tuple(shop.store.count()), ())
    query = parse(text, look.at, shop.app.tasks, ("mail", "critical"))
    assert query.faults == ()
    found = finding.find(shop.store, query, look, limit=50, after=None)
    everything = shop.store.find(JobFilter(), limit=50)
    assert len(everything) == 7
    assert [j.id for j in found.jobs] == [j.id for j in everything if query.holds(j, look.at)]
    assert found.end == "complete"
    meant = finding.standing(query, look)
    assert len(found.jobs) <= meant <= 7
    if found.jobs:
        first = finding.find(shop.store, query, look, limit=1, after=None)
        assert [j.id for j in first.jobs] == [found.jobs[0].id]
        assert (first.next is None) == (len(found.jobs) == 1)
