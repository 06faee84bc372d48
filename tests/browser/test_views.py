"""A search is saved under a name, found again, and forgotten, in a real browser."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(300)]


def test_save_a_search_use_it_and_forget_it(site, open_page):
    site.run("build_report.enqueue(2024)")
    page = open_page("/jobs?q=queue:reports")
    page.get_by_text("Save this search").click()
    page.get_by_label("Name of the view").fill("Year's end")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("The view is saved").wait_for()
    page.goto("/jobs")
    page.get_by_role("navigation", name="Saved views").get_by_role("link").click()
    assert page.get_by_label("Query").input_value() == "queue:reports"
    page.get_by_text("Save this search").click()
    page.get_by_role("button", name="Forget Year's end").click()
    page.get_by_text("The view is forgotten").wait_for()
    assert page.get_by_role("navigation", name="Saved views").count() == 0
