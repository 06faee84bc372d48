"""What a person does at the dashboard, done by a real browser."""

from __future__ import annotations

import os
import re

import pytest

from browser.conftest import IMAGES, SOURCE

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(300)]


def seen(page):
    return page.locator("main").inner_text()


def test_find_a_dead_job_read_why_edit_run_again_and_see_it_succeed(site, open_page):
    site.run("charge_order.enqueue(-7, 12.5)")
    site.work()
    page = open_page("/")
    page.get_by_role("link", name="shop.CardError").click()
    page.get_by_role("row").filter(has_text="order -7 does not exist").get_by_role("link").click()
    assert "It ended as dead: shop.CardError: order -7 does not exist" in seen(page)
    assert "raise CardError(message)" in seen(page), "the traceback"
    page.get_by_role("link", name="Run again with edited arguments").click()
    field = page.get_by_label("Arguments, as JSON")
    field.fill(field.input_value().replace("-7", '"seven"'))
    page.get_by_role("button", name="Enqueue").click()
    assert "Expected `int`, got `str`" in page.get_by_role("alert").inner_text()
    field.fill(field.input_value().replace('"seven"', "7"))
    page.get_by_role("button", name="Enqueue").click()
    page.get_by_text("A new job was enqueued: this one.").wait_for()
    page.locator("h1 .badge", has_text="succeeded").wait_for()
    assert "Attempt 1 succeeded" in seen(page)


def test_pause_a_queue_and_see_the_explanation(site, open_page):
    site.run("build_report.enqueue(2024)")
    page = open_page("/queues")
    page.get_by_role("row").filter(has_text="reports").get_by_role("button", name="Pause").click()
    assert "The queue is paused" in page.get_by_role("status").inner_text()
    page.get_by_role("link", name="reports").click()
    page.get_by_role("link", name="shop.build_report").first.click()
    why = page.locator("#r-why")
    assert "Queue reports is paused." in why.inner_text()
    assert "No worker is running." in why.inner_text()
    worker = site.work()
    why.get_by_text("No worker is running.").wait_for(state="detached")
    why.get_by_role("button", name="Resume reports").click()
    page.goto(page.url)
    page.get_by_role("link", name="Jobs", exact=True).first.click()
    page.locator(".badge", has_text="succeeded").first.wait_for()
    site.stop(worker)


def test_stop_a_worker_and_see_it_end(site, open_page):
    worker = site.work()
    page = open_page("/workers")
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("It finishes what runs within its grace").wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("The order is given").wait_for()
    assert worker.wait(60) == 0
    page.get_by_text("No worker is running.").wait_for()


def test_a_page_that_is_open_shows_what_happens(site, open_page):
    page = open_page("/")
    page.get_by_text("No job has been enqueued yet").wait_for()
    page.locator("#live", has_text="Live").wait_for()
    site.run("jobs.enqueue_many(sync_stock.prepare(str(n)) for n in range(1234))")
    page.locator(".tile", has_text="Ready").get_by_text("1,234").wait_for()
    site.work()
    page.locator(".tile", has_text="Finished").get_by_text("1,234 successes kept").wait_for()


def test_with_the_keyboard_alone(site, open_page):
    site.run("charge_order.enqueue(-7, 12.5)\nbuild_report.enqueue(2024)")
    worker = site.work("--queues", "critical", "--until-empty")
    worker.wait(60)
    page = open_page("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("g")
    page.keyboard.press("j")
    page.wait_for_url("**/jobs")
    page.keyboard.press("/")
    page.keyboard.type("state:dead")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs?q=state*")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}$"))
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Run again":
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "where one is can be seen"
    page.keyboard.press("Enter")
    assert "back in its queue" in page.get_by_role("status").inner_text()


def test_with_scripts_switched_off(site, open_page):
    site.run("charge_order.enqueue(-7, 12.5)")
    site.work("--until-empty").wait(60)
    page = open_page("/dead", java_script_enabled=False)
    page.get_by_role("link", name="shop.CardError").click()
    page.get_by_role("button", name="Retry 1 job").click()
    assert "1 job changed so far" in page.get_by_role("status").inner_text()
    page.goto("/jobs")
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Delete").click()
    assert "Delete 1 job?" in seen(page)
    page.get_by_role("button", name="Delete").click()
    page.goto("/jobs")
    assert "No such job." in seen(page)
    assert not page.locator("#live").is_visible()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/queues",
        "/jobs",
        "/dead",
        "/replays",
        "/replays/new",
        "/limits",
        "/workers",
        "/store",
        "/audit",
    ],
)
def test_on_a_telephone_nothing_sticks_out(site, open_page, path):
    site.run(
        "charge_order.enqueue(-7, 12.5)\nbuild_report.enqueue(2024)\n"
        "jobs.enqueue_many(send_receipt.prepare(n, f'{n}@example.com') for n in range(60))"
    )
    site.work("--queues", "critical,mail", "--until-empty").wait(60)
    page = open_page(path, viewport={"width": 360, "height": 740}, has_touch=True)
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 360
    smallest = page.evaluate(
        "Math.min(...[...document.querySelectorAll('button')].map(b => b.offsetHeight || 99))"
    )
    assert smallest >= 24, "a finger hits it"


def test_what_a_screen_reader_hears(site, open_page):
    site.run("charge_order.enqueue(-7, 12.5)")
    site.work("--until-empty").wait(60)
    page = open_page("/jobs")
    pages = ("/", "/queues", "/jobs", "/dead", "/replays", "/replays/new", "/limits", "/workers")
    for path in (*pages, "/store"):
        page.goto(path)
        assert page.get_by_role("heading", level=1).count() == 1
        assert page.get_by_role("navigation", name="Main").count() == 1
        assert page.get_by_role("main").count() == 1
        assert page.locator("nav[aria-label=Main] [aria-current=page]").count() == 1
        nameless = page.evaluate(
            "[...document.querySelectorAll('button, a, input:not([type=hidden]), textarea')]"
            ".filter(e => !(e.textContent.trim() || e.ariaLabel || e.labels?.length))"
            ".map(e => e.outerHTML)"
        )
        assert nameless == [], path
        mute = page.evaluate(
            "[...document.querySelectorAll('svg')].filter(e => !e.ariaLabel && !e.ariaHidden)"
            ".map(e => e.outerHTML)"
        )
        assert mute == [], path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(site, open_page, scheme):
    site.run("charge_order.enqueue(-7, 12.5)\nbuild_report.enqueue(2024)\njobs.replays.start()")
    site.work("--queues", "critical", "--until-empty").wait(60)
    page = open_page("/", color_scheme=scheme)
    for path in ("/", "/jobs", "/dead", "/replays", "/replays/new"):
        page.goto(path)
        assert page.evaluate(CONTRAST) == [], path


# Every text of 4.5:1 against the first ground behind it that is not transparent (WCAG AA).
CONTRAST = """() => {
  const rgb = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = (c) => {
    const [r, g, b] = c.slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const faults = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.offsetParent || e.closest('svg')) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const what = `${e.className} ${e.textContent.slice(0, 30)}`;
    if (ratio < 4.5) faults.push(`${what} ${ratio.toFixed(2)}`);
  }
  return faults;
}"""


@pytest.mark.skipif(not os.environ.get("TURNOUT_PICTURES"), reason="for TURNOUT_PICTURES=1")
def test_pictures_for_the_docs(site, open_page):
    IMAGES.mkdir(exist_ok=True)
    page = open_page("/")
    site.run(
        "jobs.enqueue_many(send_receipt.prepare(n, f'{n}@example.com') for n in range(1, 900))\n"
        "for n in range(12): charge_order.enqueue(-7 - n, 12.5)\n"
        "for n in range(40): sync_stock.using(delay=900).enqueue(str(n))\n"
        "for y in range(2019, 2025): build_report.enqueue(y)\n"
    )
    site.work("--queues", "critical,mail,default")
    for burst in (900, 2_500, 4_400, 3_100, 1_900, 700, 1_400, 2_800, 1_200, 600, 2_000, 3_300):
        site.run(f"jobs.enqueue_many(sync_stock.prepare(str(n)) for n in range({burst}))")
        page.wait_for_timeout(6_000)
    take(site, page, "/", "dashboard-overview.png")
    take(site, page, "/tasks/one?task=shop.sync_stock", "dashboard-task.png")
    dead = page.request.get("/jobs.json?q=state:dead+error:CardError").json()["jobs"][0]["id"]
    take(site, page, f"/jobs/{dead}", "dashboard-job.png")
    late = page.request.get("/jobs.json?q=state:ready+queue:reports").json()["jobs"][0]["id"]
    dark = open_page("/", color_scheme="dark", viewport={"width": 1280, "height": 620})
    take(site, dark, f"/jobs/{late}", "dashboard-why.png")


def take(site, page, path, name):
    """Photograph a page, with the folders of this machine called as on a server."""
    page.goto(path)
    page.locator("#live", has_text="Live").wait_for()
    for folder, said in ((site.folder, "/srv/shop"), (SOURCE, "/srv/shop/.venv")):
        page.evaluate(RENAME, [str(folder), said])
    page.screenshot(path=IMAGES / name)
    assert (IMAGES / name).stat().st_size < 150_000


RENAME = """([from, to]) => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) walker.currentNode.data = walker.currentNode.data.replaceAll(from, to);
}"""
