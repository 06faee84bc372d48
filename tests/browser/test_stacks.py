"""Where a worker's jobs stand, asked for on its page by a real browser."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(300)]


def test_ask_a_worker_where_its_jobs_stand(site, open_page):
    site.run('call_bank.enqueue("tok_4242")')
    site.work()
    page = open_page("/workers")
    page.locator("#r-workers tbody th a").first.click()
    page.locator("#r-jobs", has_text="shop.call_bank").wait_for()
    page.get_by_role("button", name="Ask where its jobs stand").click()
    page.get_by_text("arrives with the next heartbeat").wait_for()
    trace = page.locator("#r-jobs pre")
    trace.wait_for()
    assert "in call_bank" in trace.inner_text()
    assert "time.sleep(0.02)" in trace.inner_text()
    assert "tok_4242" not in page.content()
    (site.folder / "bank_is_up").touch()
    page.get_by_text("Nothing runs on it just now.").wait_for()
