"""`turnout top`: the live view, driven by keys against a real store."""

from __future__ import annotations

import asyncio
import builtins
import os
import re
import sys
import time
from pathlib import Path

import pytest

from support import valkey
from turnout import Turnout, auditlog
from turnout.cli.top.app import Top
from turnout.cli.top.screens import Confirm, Story
from turnout.errors import SchemaError
from turnout.job import JobFilter, State


@pytest.fixture
def jobs(tmp_path):
    app = Turnout(f"sqlite:///{tmp_path}/jobs.db")
    app.task(name="charge", queue="critical")(charge)
    app.task(name="mail")(charge)
    app.store.setup()
    yield app
    app.close()


def charge(order_id: int) -> None:
    del order_id


async def until(pilot, condition, what: str) -> None:
    """Let the program run until something is so; fail when that takes too long."""
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        await pilot.pause(0.02)


def watch(url: str, story, **options) -> None:
    """Run the program on a terminal of its own, and tell `story` the pilot."""

    async def run() -> None:
        top = Top(url, interval=0.2, **options)
        async with top.run_test(size=(140, 40)) as pilot:
            await until(pilot, lambda: top.seen is not None, "a first look")
            await story(top, pilot)

    asyncio.run(run())


def rows(top) -> list[str]:
    """What the table in front shows, a line a row."""
    table = top.table
    return [" ".join(map(str, table.get_row_at(n))) for n in range(table.row_count)]


def states(jobs, task: str) -> list[State]:
    return [record.state for record in jobs.store.find(JobFilter(task=task))]


def test_queues_are_shown_and_follow_what_happens(jobs):
    jobs.tasks["charge"].enqueue(1)

    async def story(top, pilot):
        await until(pilot, lambda: "critical" in rows(top)[0], "the queue")
        for n in range(4):
            jobs.tasks["mail"].enqueue(n)
        await until(pilot, lambda: len(rows(top)) == 2, "the other queue")

    watch(jobs.url, story)


def test_a_queue_is_paused_and_resumed_by_one_key(jobs):
    jobs.tasks["charge"].enqueue(1)

    def paused() -> bool:
        return jobs.store.count()[0].paused

    async def story(top, pilot):
        await until(pilot, lambda: rows(top), "the queue")
        await pilot.press("p")
        await until(pilot, paused, "it is paused")
        await until(pilot, lambda: "paused" in rows(top)[0], "and says so")
        await pilot.press("p")
        await until(pilot, lambda: not paused(), "it is resumed")

    watch(jobs.url, story)
    told = [(one.action, one.subject) for one in auditlog.kept(jobs.store, time.time())]
    assert told == [("resume", "queue critical"), ("pause", "queue critical")]


def test_jobs_are_filtered_and_told_of(jobs):
    jobs.tasks["charge"].enqueue(7)
    mail = jobs.tasks["mail"].enqueue(8)

    async def story(top, pilot):
        await pilot.press("3")
        await until(pilot, lambda: len(rows(top)) == 2, "both jobs")
        await pilot.press("slash", *"task:mail", "enter")
        await until(pilot, lambda: len(rows(top)) == 1, "one job")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(top.screen, Story), "its story")
        assert mail.id in top.screen.text
        assert "mail" in top.screen.text
        await pilot.press("escape")
        assert not isinstance(top.screen, Story)

    watch(jobs.url, story)


def test_what_is_lasting_asks_first(jobs):
    jobs.tasks["charge"].enqueue(1)

    async def story(top, pilot):
        await pilot.press("3")
        await until(pilot, lambda: rows(top), "the job")
        await pilot.press("x")
        await until(pilot, lambda: isinstance(top.screen, Confirm), "a question")
        await pilot.press("n")
        assert states(jobs, "charge") == [State.QUEUED]
        await pilot.press("x")
        await until(pilot, lambda: isinstance(top.screen, Confirm), "a question")
        await pilot.press("y")
        await until(pilot, lambda: states(jobs, "charge") == [], "it is deleted")

    watch(jobs.url, story)


def test_marked_jobs_are_cancelled_together_and_the_others_stay(jobs):
    for n in range(3):
        jobs.tasks["charge"].enqueue(n)

    async def story(top, pilot):
        await pilot.press("3")
        await until(pilot, lambda: len(rows(top)) == 3, "the jobs")
        await pilot.press("space", "space", "c")
        await until(pilot, lambda: isinstance(top.screen, Confirm), "a question")
        assert "2 marked jobs" in top.screen.question
        await pilot.press("y")
        await until(
            pilot, lambda: states(jobs, "charge").count(State.CANCELLED) == 2, "two are cancelled"
        )
        assert states(jobs, "charge").count(State.QUEUED) == 1

    watch(jobs.url, story)


def test_the_dead_are_tried_again(shop):
    dead = shop.dead()

    async def story(top, pilot):
        await pilot.press("4")
        await until(pilot, lambda: rows(top), "the dead job")
        await pilot.press("r")
        await until(pilot, lambda: shop.state(dead) is State.QUEUED, "it is queued again")
        await until(pilot, lambda: not rows(top), "and gone from the dead")

    watch(shop.app.url, story)


def test_read_only_changes_nothing(jobs):
    jobs.tasks["charge"].enqueue(1)

    async def story(top, pilot):
        await pilot.press("3")
        await until(pilot, lambda: rows(top), "the job")
        await pilot.press("x", "c", "r")
        assert not isinstance(top.screen, Confirm)

    watch(jobs.url, story, read_only=True)
    assert states(jobs, "charge") == [State.QUEUED]


def test_a_query_that_makes_no_sense_says_why(jobs):
    async def story(top, pilot):
        await pilot.press("3", "slash", *"colour:red", "enter")
        page = top.query_one("#page")
        await until(pilot, lambda: "colour" in str(page.render()), "the fault")

    watch(jobs.url, story)


def test_text_of_strangers_is_shown_as_it_is(jobs):
    jobs.tasks["charge"].using(queue="a-queue").enqueue(1)
    strange = jobs.task(name="[bold red]x[/] [@click=app.quit]quit[/]")(charge)
    strange.enqueue(1)

    async def story(top, pilot):
        await pilot.press("3")
        await until(pilot, lambda: len(rows(top)) == 2, "both")
        assert any("[bold red]x[/]" in row for row in rows(top))

    watch(jobs.url, story)


def test_a_store_that_is_away_is_said_to_be_and_comes_back():
    valkey.need()
    server = valkey.Server("--appendonly", "yes", "--appendfsync", "always")
    app = Turnout(server.url)
    app.task(name="charge")(charge).enqueue(1)
    try:

        async def story(top, pilot):
            await until(pilot, lambda: rows(top), "the queue")
            server.kill()
            fault = top.query_one("#fault")
            await until(pilot, lambda: "The store is away" in str(fault.render()), "it says so")
            assert rows(top), "what was seen stays"
            server.start()
            await until(pilot, lambda: not fault.display, "it is back")

        watch(server.url, story)
    finally:
        app.close()
        server.close()


def test_a_store_that_is_none_of_ours_ends_it(tmp_path):
    import sqlite3

    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE turnout_meta (x)")
    other.close()

    async def run() -> Top:
        top = Top(f"sqlite:///{path}", interval=0.2)
        async with top.run_test() as pilot:
            await until(pilot, lambda: top.fault is not None, "a fault")
        return top

    assert isinstance(asyncio.run(run()).fault, SchemaError)


def test_a_tick_while_the_screen_is_taken_down_does_nothing(jobs):
    async def story(top, pilot):
        await top.screen.query("*").remove()
        top._asked = None  # what an earlier tick had asked for
        top.tick()
        assert top._asked is None, "nobody looks any more"

    watch(jobs.url, story)


def test_without_a_terminal_it_says_what_to_say_instead(cli, jobs):
    said = cli("top", "--url", jobs.url, code=1)
    assert "turnout status --watch" in said.stderr


def test_without_textual_it_says_what_to_install(cli, jobs, monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name.partition(".")[0] == "textual":
            raise ModuleNotFoundError(name="textual")
        return real(name, *rest, **more)

    for name in [one for one in sys.modules if one.startswith(("textual", "turnout.cli.top"))]:
        monkeypatch.delitem(sys.modules, name)
    from turnout.cli import top

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(Exception, match=r"pip install 'turnout\[top\]'"):
        top._load()


@pytest.mark.parametrize("interval", ["0.01s", "2h"])
def test_wrong_intervals_are_refused(cli, jobs, interval):
    assert "0.2 s to 1 h" in cli("top", "--url", jobs.url, "--interval", interval, code=2).stderr


@pytest.mark.skipif(not os.environ.get("TURNOUT_PICTURES"), reason="for TURNOUT_PICTURES=1")
def test_the_picture_of_the_docs(shop):
    for n in range(12):
        shop.task.enqueue(n)
        shop.mail.enqueue(f"buyer{n}@example.org")
    shop.scheduled()
    here = str(Path("jobs.db").absolute())
    picture = Path(__file__).parents[2] / "docs" / "images" / "top.svg"

    async def story(top, pilot):
        await pilot.press("3")
        await until(pilot, lambda: len(rows(top)) > 20, "the jobs")
        drawn = top.export_screenshot(title="turnout top").replace(here, "/srv/shop/jobs.db")
        picture.write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL), "utf-8")

    watch(shop.app.url, story)
