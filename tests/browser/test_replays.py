"""A bulk replay in a real browser, with real workers: the canary stops it, then it goes well."""

from __future__ import annotations

import os

import pytest

from browser.conftest import IMAGES
from process.rig import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(300)]
DEAD = """
jobs.enqueue_many(settle_invoice.prepare(n) for n in range(60))
"""


def begin(page, **fields):
    page.goto("/dead")
    page.get_by_role("link", name="ConnectionError").click()
    page.get_by_role("link", name="Replay all at a rate").click()
    page.get_by_text("60 jobs would go back to their queues").wait_for()
    for label, value in fields.items():
        page.get_by_label(label.replace("__", ", ").replace("_", " ")).fill(value)
    page.get_by_role("button", name="Begin the replay").click()
    page.get_by_text("The replay began").wait_for()


def test_a_canary_that_fails_stops_a_replay_and_a_later_one_goes_well(site, open_page):
    site.run(DEAD)
    site.work()
    page = open_page("/dead")
    page.locator("#r-groups b", has_text="60").wait_for()
    begin(page, Jobs_a_second="20", Canary__jobs="10")
    row = page.locator("#r-replays tbody tr").first
    row.locator(".badge", has_text="stopped").wait_for()
    assert "canary: 0 of 10 succeeded, 90% were asked" in row.inner_text()
    assert "10 / 60" in row.inner_text()
    page.goto("/dead")
    page.locator("#r-groups b", has_text="60").wait_for()

    (site.folder / "bank_is_up").touch()
    begin(page, Jobs_a_second="40", Canary__jobs="10")
    row = page.locator("#r-replays tbody tr").first
    row.locator(".badge", has_text="done").wait_for(timeout=60_000)
    assert "60 / 60" in row.inner_text()
    assert "60 went well, 0 failed" in row.inner_text()
    if os.environ.get("TURNOUT_PICTURES"):
        page.screenshot(path=IMAGES / "dashboard-replays.png")


def test_a_replay_outlives_the_web_process_and_is_stopped_from_another(site, open_page):
    site.run(DEAD)
    worker = site.work()
    page = open_page("/dead")
    page.locator("#r-groups b", has_text="60").wait_for()
    begin(page, Jobs_a_second="2", Canary__jobs="0", Stop_when_so_many_fail="")
    web = site.processes()[0]
    site.stop(web)
    site.serve()
    page.goto(site.url + "/replays")
    row = page.locator("#r-replays tbody tr").first
    before = row.inner_text()
    wait_until(lambda: row.inner_text() != before, "it goes on", timeout=30)
    row.get_by_role("button", name="Stop").click()
    page.get_by_text("The replay is stopped.").wait_for()
    row.locator(".badge", has_text="stopped").wait_for()
    page.goto(site.url + "/audit")
    page.get_by_role("row").filter(has_text="stop replay").wait_for()
    site.stop(worker)
