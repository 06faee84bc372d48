"""The buyer's page of the orders example, in a real browser: nobody reloads anything."""

from __future__ import annotations

import os
import re

import pytest

from browser.conftest import IMAGES

ROOT = IMAGES.parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(300)]


@pytest.fixture
def stage(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from examples.orders.processes import Stage

    with Stage(tmp_path) as stage:
        stage.start_services()
        stage.start_web()
        stage.start_worker(5)
        yield stage


@pytest.fixture
def page(launched, stage):
    context = launched.new_context(
        base_url=f"http://{stage.web}", viewport={"width": 640, "height": 620}
    )
    context.set_default_timeout(30_000)
    page = context.new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto("/")
    page.evaluate("window.unloaded = false; addEventListener('unload', () => unloaded = true)")
    yield page
    context.close()
    assert faults == []


def buy(page, card):
    page.get_by_label("Card").fill(card)
    page.get_by_role("button", name="Buy").click()


def streams(page):
    return [url for url in page.asked if url.endswith("/events")]


def test_the_buyer_sees_that_the_payment_is_confirmed(page):
    buy(page, "card-7")
    page.get_by_text("Payment confirmed").wait_for()
    told = page.locator("#story li").all_inner_texts()
    assert re.fullmatch(r"Order \d+ is placed.", told[0])
    assert told[-1] == "Payment confirmed. Thank you!"
    assert page.evaluate("window.unloaded") is False, "the same page all along"
    assert len(streams(page)) == 1, "one stream, and no asking again"
    if os.environ.get("TURNOUT_PICTURES"):
        page.screenshot(path=IMAGES / "orders-buyer.png")


def test_the_buyer_sees_that_the_card_was_declined(page):
    buy(page, "card_declined")
    page.get_by_text("Your card was declined.").wait_for()
    assert "confirmed" not in page.locator("#story").inner_text()


def test_a_script_that_never_closes_its_stream_is_not_answered_for_ever(page):
    """Browsers reconnect when a stream ends; 204 makes them give up."""
    token = page.evaluate("""async () => {
        const order = { email: "a@example.org", card: "card-8", cents: 1250 };
        const answer = await fetch("orders", { method: "POST", body: JSON.stringify(order) });
        const address = (await answer.json()).status + "/events";
        window.source = new EventSource(address);
        return address;
    }""")
    page.wait_for_function("source.readyState === EventSource.CLOSED")
    assert len([url for url in streams(page) if url.endswith(token)]) == 2
