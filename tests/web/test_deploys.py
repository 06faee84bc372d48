"""Deploys on the charts: a line where it belongs, and words for who sees no lines."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import pytest

from turnout.deploys import KEPT, MOST, Deploy
from turnout.errors import StoreBusy, StoreUnavailable
from turnout.metrics import Measured, Spread, bucketed
from turnout.web import charts
from turnout.web.deployed import NEAR, Flag, flags_of, said
from turnout.web.past import SPANS, Archive
from web.test_safety import CORPUS, watch

LINE = re.compile(r'<g class="deploy"><title>([^<]*)</title>.*?<line x1="([\d.]+)" x2="([\d.]+)"')
LEFT, RIGHT = charts.LEFT, charts.WIDTH
NOW = 1_795_000_000.0  # 2026-11-18 11:06:40 UTC


class Yard:
    """A shop that ran lately, and whose clock marks deploys in the past."""

    def __init__(self, shop) -> None:
        self.shop, self.now = shop, time.time()
        minute = int(self.now) // 60 * 60
        row = Measured(
            at=minute - 60, task="shop.charge", queue="critical", outcomes={"succeeded": 1},
            run=Spread(0.01, bucketed([0.01])), wait=Spread(0.01, bucketed([0.01])),
        )  # fmt: skip
        shop.store.record_metrics("web1", 1, [row])

    def deploy(self, label: str, age: float = 0.0, by: str = "ann") -> Deploy:
        self.shop.app.clock = lambda: self.now - age
        try:
            return self.shop.app.deploys.mark(label, by=by)
        finally:
            self.shop.app.clock = lambda: self.now


@pytest.fixture
def yard(shop):
    return Yard(shop)


def chart_of(page, title="Attempts per minute"):
    return page[page.index(f"<figcaption>{title}") :].partition("</figure>")[0]


def lines(chart):
    return [(text, float(x)) for text, x, _ in LINE.findall(chart)]


@pytest.mark.parametrize("path", ["/", "/tasks", "/tasks/one?task=shop.charge"])
def test_a_deploy_is_a_line_at_its_time_on_every_chart(yard, admin, path):
    mark = yard.deploy("v1.42", age=1_800)
    page = admin.get(path)
    assert page.count('<g class="deploy">') == page.count('<svg class="chart')
    [(text, x)] = lines(chart_of(page))
    assert text.startswith("v1.42, ")
    assert text.endswith(" UTC, by ann")
    steps = admin.json("/overview.json")["steps"]
    share = (mark.at - steps[0]["at"]) / (steps[-1]["at"] - steps[0]["at"])
    assert x == pytest.approx(LEFT + share * (RIGHT - LEFT), abs=0.1)
    assert 0.4 < share < 0.6


@pytest.mark.parametrize(
    ("span", "seen"),
    [("1h", 0), ("1d", 1), ("7d", 2), ("30d", 3), ("90d", 4)],
)
def test_what_lies_outside_the_range_is_not_there(yard, admin, span, seen):
    ages = [("v4", 0.5), ("v3", 3), ("v2", 20), ("v1", 60), ("v0", 91.9)]
    for label, days in reversed(ages):
        yard.deploy(label, age=days * 86_400)
    labels = [label for label, _ in ages][:seen]
    page = admin.get(f"/?last={span}")
    assert [text.partition(",")[0] for text, _ in lines(chart_of(page))] == labels[::-1]
    told = admin.json(f"/overview.json?last={span}")["deploys"]
    assert [one["label"] for one in told] == labels
    assert ("Deploys in this time" in page) == bool(seen)


def test_a_deploy_of_this_moment_stands_at_the_edge(yard, admin):
    yard.deploy("v1.42")
    for span in SPANS:
        [(_, x)] = lines(chart_of(admin.get(f"/?last={span}")))
        assert x == pytest.approx(RIGHT, abs=RIGHT * 0.03)


def test_under_the_charts_they_are_listed_the_newest_first(yard, admin):
    for n in range(12):
        yard.deploy(f"v{n}", age=1_200 - n * 60, by="ann" if n % 2 else "")
    page = admin.get("/")
    listed = page[page.index("<h3>Deploys in this time") :].partition("</section>")[0]
    assert re.findall(r"<b>(v\d+)</b>", listed) == [f"v{n}" for n in range(11, 3, -1)]
    assert "and 4 earlier ones" in listed
    assert listed.count(" by ann") == 4
    assert len(admin.json("/tasks.json")["deploys"]) == 12


def test_a_screen_reader_is_told(yard, admin):
    yard.deploy("v1.41", age=1_800)
    yard.deploy("v1.42", age=600)
    [told] = re.findall(r'role="img" aria-label="([^"]*)"', chart_of(admin.get("/")))
    assert re.search(r"over the last 1h\. 2 deploys: v1\.42, .* by ann; v1\.41, .* by ann$", told)


def test_without_deploys_nothing_is_said(yard, admin):
    page = admin.get("/")
    assert "deploy" not in page.lower()


@pytest.mark.parametrize("evil", CORPUS)
def test_labels_and_names_cannot_run(yard, admin, evil):
    if evil.isprintable():
        yard.deploy(evil, age=600, by=evil)
    yard.deploy("v1", age=500, by=evil)
    for path in ("/", "/tasks", "/tasks/one?task=shop.charge", "/overview.json"):
        text = admin.get(path)
        assert "v1" in text
        if not path.endswith(".json"):
            watch(text)
            assert evil not in text or not set(evil) & set("<\u202e\x1b")
    watch(admin.post("/deploys/mark", code=303 if evil.isprintable() else 400, label=evil).text)
    watch(admin.get("/audit"))


def test_operators_and_programs_mark_and_the_audit_log_knows(yard, open_as):
    operator, viewer = open_as("operator"), open_as("viewer")
    viewer.post("/deploys/mark", code=403, label="v1.42")
    assert viewer.json("/overview.json")["deploys"] == []
    assert "The deploy is marked" in operator.follow("/deploys/mark", label=" v1.42 ")
    [told] = operator.json("/overview.json")["deploys"]
    assert (told["label"], told["by"]) == ("v1.42", "anna-operator")
    [entry] = operator.json("/audit.json")["entries"]
    wanted = ("anna-operator", "mark deploy", "v1.42")
    assert (entry["who"], entry["action"], entry["subject"]) == wanted


def test_a_program_is_answered_in_json(shop, admin):
    headers = {"turnout-client": "deploy", "accept": "application/json"}
    answer = admin.client.post("/deploys/mark", data={"label": "v1.42"}, headers=headers).json()
    assert answer.pop("at") == pytest.approx(shop.app.clock(), abs=30)
    assert answer == {"done": True, "label": "v1.42", "by": "anna-admin"}
    for label in ("", " ", "x" * 61, "a\nb"):
        refused = admin.client.post("/deploys/mark", data={"label": label}, headers=headers)
        assert refused.status_code == 400
        assert "label" in refused.json()["detail"]


@pytest.mark.parametrize("error", [StoreUnavailable, StoreBusy])
def test_a_page_is_shown_when_only_the_keeper_of_deploys_fails(yard, admin, monkeypatch, error):
    def away(self):
        raise error("no answer")

    monkeypatch.setattr("turnout.web.past.Deploys.all", away)
    page = admin.get("/")
    assert "What was deployed is not known now" in page
    assert "Attempts per minute" in page
    assert admin.json("/overview.json")["deploys"] is None


def test_a_chart_stays_small_however_many_there_were(yard):
    deploys = [Deploy(label="v" * 60, at=NOW - n * 600, by="a" * 60) for n in range(MOST)]
    points = [(NOW - 7 * 86_400 + n * 3_600, 1.0) for n in range(169)]
    svg = str(charts.area(points, title="t", kind="rate", flags=flags_of(deploys, NOW)))
    found = lines(svg)
    xs = [x for _, x in found]
    assert len(xs) > 50
    assert all(after - x >= NEAR - 0.11 for x, after in pairwise(xs))
    assert len(svg) < 120_000
    many = charts.area(points, title="t", kind="rate", flags=[Flag(NOW, f"v{n}") for n in range(9)])
    assert lines(many)[0][0] == "v8; v7; v6; v5; v4; and 4 more"


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (60.0, "v1, 11:05 UTC, by ann"),
        (86_400.0, "v1, 2026-11-17 11:06 UTC, by ann"),
        (-1e18, "v1, 1000000001795000064 s since the epoch, by ann"),
    ],
)
def test_the_words_of_a_line(age, words):
    assert said(Deploy(label="v1", at=NOW - age, by="ann"), NOW) == words
    assert said(Deploy(label="v\x1b1", at=NOW), NOW) == "v\\u001b1, 11:06 UTC"


def test_an_archive_that_is_told_to_forget_reads_anew(yard):
    archive = Archive(lambda: yard.shop.store, lambda: yard.now)
    assert archive.look("1h").deploys == ()
    yard.deploy("v1.42")
    assert archive.look("1h").deploys == ()
    archive.forget()
    assert [one.label for one in archive.look("1h").deploys] == ["v1.42"]
    assert max(SPANS.values()) < KEPT
