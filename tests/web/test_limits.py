"""The pages of limits and of workers: what is taken, and the orders that people give there."""

from __future__ import annotations

import pytest

from turnout import Secret, concurrency
from turnout.limits.shapes import rate


@pytest.fixture
def limited(shop):
    @shop.app.task(name="shop.pay", limit=concurrency("stripe", 2), dependency="stripe")
    def pay(order_id: int) -> None: ...

    @shop.app.task(name="shop.sync", limit=rate("tenant", 5, per=60, by="tenant"))
    def sync(tenant: str) -> None: ...

    return shop


def test_limits_show_what_is_taken(admin, limited):
    with limited.app.limit("stripe").acquire():
        seen = admin.json("/limits.json")
        assert "1 / 2" in admin.get("/limits")
    by_key = {one["key"]: one for one in seen["limits"]}
    assert (by_key["stripe"]["live"], by_key["stripe"]["most"]) == (1, 2)
    assert by_key["stripe"]["tasks"] == ["shop.pay"]
    assert (by_key["tenant"]["live"], by_key["tenant"]["by"]) == (None, "tenant")
    assert "5 for each tenant" in admin.get("/limits")


def test_looking_at_limits_takes_none(admin, limited):
    for _ in range(5):
        seen = admin.json("/limits.json")
    assert [one["live"] for one in seen["limits"] if one["key"] == "stripe"] == [0]


def test_a_dependency_is_opened_closed_and_reset(admin, limited):
    assert "no call goes through until" in admin.follow("/limits/act", name="stripe", action="open")
    [seen] = admin.json("/limits.json")["dependencies"]
    assert (seen["phase"], seen["until"], seen["tasks"]) == ("open", None, ["shop.pay"])
    assert "until it is closed" in admin.get("/limits")
    assert "calls go through" in admin.follow("/limits/act", name="stripe", action="close")
    assert admin.json("/limits.json")["dependencies"][0]["phase"] == "closed"
    admin.post("/limits/act", name="stripe", action="open")
    assert "is forgotten" in admin.follow("/limits/act", name="stripe", action="reset")
    assert admin.json("/limits.json")["dependencies"][0]["phase"] == "closed"
    actions = [entry["action"] for entry in admin.json("/audit.json")["entries"]]
    assert actions == ["reset", "open", "close", "open"]


def test_what_nobody_declared_is_not_opened(admin, limited):
    assert (
        "nothing was changed"
        in admin.post("/limits/act", code=404, name="paypal", action="open").text
    )
    admin.post("/limits/act", code=400, name="stripe", action="break")
    assert admin.json("/audit.json")["entries"] == []


@pytest.mark.parametrize("order", ["quiet", "stop", "dump"])
def test_an_order_is_asked_for_twice_and_arrives_once(admin, shop, order):
    shop.heartbeat()
    asked = admin.post("/workers/order", code=200, epoch="e1", order=order).text
    assert f"{order.capitalize()} web1:4711:x?" in asked
    assert admin.json("/audit.json")["entries"] == [], "asking is not ordering"
    page = admin.follow("/workers/order", epoch="e1", order=order, sure="yes")
    assert "The order is given" in page
    [entry] = admin.json("/audit.json")["entries"]
    assert (entry["action"], entry["subject"]) == (order, "worker web1:4711:x")


def test_an_order_for_nobody_is_refused(admin, shop):
    shop.heartbeat()
    text = admin.post("/workers/order", code=404, epoch="e9", order="stop", sure="yes").text
    assert "nobody was told anything" in text
    admin.post("/workers/order", code=400, epoch="e1", order="dance", sure="yes")
    assert admin.json("/audit.json")["entries"] == []


def test_viewers_see_both_pages_without_buttons(open_as, limited):
    limited.heartbeat()
    viewer = open_as("viewer")
    for path in ("/limits", "/workers"):
        assert "<button" not in viewer.get(path)


def test_a_job_behind_a_full_limit_and_an_open_breaker_says_so(admin, limited):
    job_id = limited.app.tasks["shop.pay"].enqueue(1).id
    limited.heartbeat()

    def kinds():
        return [one["kind"] for one in admin.json(f"/jobs/{job_id}.json")["reasons"]]

    assert "limit_full" not in kinds()
    with limited.app.limit("stripe").acquire(), limited.app.limit("stripe").acquire():
        limited.app.dependency("stripe").open()
        assert kinds() == ["limit_full", "breaker_open"]
        page = admin.get(f"/jobs/{job_id}")
    assert "Limit stripe is full: 2 of 2 taken." in page
    assert "The breaker of dependency stripe is open." in page
    limited.app.dependency("stripe").close()
    assert "limit_full" not in kinds()


def test_a_limit_by_a_hidden_argument_does_not_tell_it(admin, shop):
    @shop.app.task(name="shop.card", limit=concurrency("card", 1, by="card"))
    def pay(card: Secret[str]) -> None: ...

    job_id = pay.enqueue("4242-4242").id
    limit = concurrency("card:4242-4242", 1)
    with shop.app.limit(limit).acquire():
        page = admin.get(f"/jobs/{job_id}")
        assert "is full: 1 of 1 taken" in page
    assert "4242-4242" not in page
    assert "4242-4242" not in str(admin.json(f"/jobs/{job_id}.json"))


def pay_running(limited, order_id=1):
    task = limited.app.tasks["shop.pay"]
    job_id = task.enqueue(order_id).id
    assert limited.lease("default").id == job_id
    return job_id


def test_the_page_of_limits_says_who_holds_a_slot(admin, limited):
    assert "No running job holds a slot." in admin.get("/limits")
    first, second = pay_running(limited, 1), pay_running(limited, 2)
    limited.running()
    seen = admin.json("/limits.json")["holders"]
    assert {(one["key"], one["job"]) for one in seen} == {
        ("concurrency:stripe", first), ("concurrency:stripe", second),
        ("dependency:stripe", first), ("dependency:stripe", second),
    }  # fmt: skip
    assert {(one["task"], one["worker"]) for one in seen} == {("shop.pay", "web1:4711:x")}
    assert all(one["since"] for one in seen)
    page = admin.get("/limits")
    assert "concurrency stripe" in page
    assert f"/jobs/{first}" in page


def test_a_job_that_waits_for_a_limit_says_who_holds_it(admin, limited):
    holder = pay_running(limited)
    waiting = limited.app.tasks["shop.pay"].enqueue(2).id
    seen = admin.json(f"/jobs/{waiting}.json")["holders"]
    assert {one["job"] for one in seen} == {holder}
    assert "Who holds the slots of its limits" in admin.get(f"/jobs/{waiting}")
    assert admin.json(f"/jobs/{holder}.json")["holders"] == []
    assert admin.json(f"/jobs/{limited.put()}.json")["holders"] == []


def test_holders_under_a_hidden_key_are_not_told(admin, limited):
    @limited.app.task(name="shop.vault", limit=concurrency("vault", 1, by="pin"))
    def vault(pin: Secret[str]) -> None: ...

    vault.enqueue("1234")
    limited.lease("default")
    waiting = vault.enqueue("1234").id
    assert admin.json(f"/jobs/{waiting}.json")["holders"] == []
    assert "1234" not in admin.get(f"/jobs/{waiting}")
