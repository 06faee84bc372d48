"""Saved views: a name for a query, seen by all and changed by operators."""

from __future__ import annotations

from typing import Any

import pytest

from turnout.errors import ConfigError, StoreUnavailable
from turnout.views import MOST, View, forget, save, saved
from turnout.web import Person, dashboard
from web.conftest import Browser, Shop


def test_save_see_replace_and_forget(admin, open_as):
    text = admin.follow("/views/save", name="Night", q="state:dead queue:mail")
    assert "The view is saved" in text
    assert "Forget Night" in text
    viewer = open_as("viewer")
    assert 'q=state%3Adead+queue%3Amail"' in viewer.get("/jobs")
    admin.post("/views/save", name="Night", q="state:dead")
    [view] = viewer.json("/jobs.json")["views"]
    assert view == {"name": "Night", "query": "state:dead", "by": "anna-admin"}
    assert "The view is forgotten" in admin.follow("/views/forget", name="Night")
    assert viewer.json("/jobs.json")["views"] == []
    actions = [one["action"] for one in admin.json("/audit.json")["entries"]]
    assert actions == ["forget view", "save view", "save view"]


def test_a_viewer_saves_nothing(admin, open_as):
    viewer = open_as("viewer")
    viewer.post("/views/save", code=403, name="Mine", q="state:dead")
    assert "Save this search" not in viewer.get("/jobs?q=state:dead")
    assert "Save this search" in admin.get("/jobs?q=state:dead")


@pytest.mark.parametrize("name", ["", "   ", "x" * 41, "a\nb"])
def test_names_that_are_none(admin, name):
    assert "printable" in admin.post("/views/save", code=400, name=name, q="state:dead").text
    assert admin.json("/jobs.json")["views"] == []


def test_what_is_not_there_is_not_forgotten(admin):
    admin.post("/views/forget", code=404, name="none")


def test_no_more_than_there_is_room_for(shop):
    for n in range(MOST):
        save(shop.store, View(name=f"view {n:02}", query="state:dead"))
    with pytest.raises(ConfigError, match="no room is left"):
        save(shop.store, View(name="one more", query="state:dead"))
    save(shop.store, View(name="view 00", query="state:cancelled"))
    assert forget(shop.store, "view 01")
    assert len(saved(shop.store)) == MOST - 1


def test_jobs_are_shown_while_the_shard_that_keeps_views_is_away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    away = "redis://127.0.0.1:1/0"
    shop = Shop(f"sharded:a={away}|b=sqlite:///b.db")
    with pytest.raises(StoreUnavailable):
        saved(shop.store)
    job_id = shop.put(id="018f0000-0000-7000-8000-000000000001")
    app: Any = dashboard(shop.app, authorize=lambda _request: Person("anna", "viewer"))
    found = Browser(app).json("/jobs.json")
    assert ([one["id"] for one in found["jobs"]], found["views"]) == ([job_id], [])
    app.state.desk.pulse.close()
    shop.app.close()


def test_two_who_save_at_once_both_keep_theirs(shop, monkeypatch):
    mark, raced = type(shop.store).mark, []

    def meanwhile(self, marks, **more):
        if marks[0].most and not raced:
            raced.append(True)
            save(shop.store, View(name="theirs", query="state:dead"))
        return mark(self, marks, **more)

    monkeypatch.setattr(type(shop.store), "mark", meanwhile)
    save(shop.store, View(name="ours", query="state:dead"))
    assert [one.name for one in saved(shop.store)] == ["ours", "theirs"]
