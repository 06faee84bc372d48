"""`turnout limits` on an application of its own."""

from __future__ import annotations

import json

from click.testing import CliRunner

from turnout.cli import main

APP = """
from turnout import Turnout, concurrency

jobs = Turnout("sqlite:///limits.db")

@jobs.task(limit=concurrency("stripe", 3), dependency="stripe")
def charge(): ...
"""


def run(*arguments: str):
    return CliRunner().invoke(main, ["limits", *arguments])


def test_a_dependency_is_opened_seen_and_closed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "limited_app.py").write_text(APP)
    opened = run("open", "stripe", "-a", "limited_app")
    assert (opened.exit_code, opened.output) == (0, "stripe: open\n")
    seen = json.loads(run("list", "-a", "limited_app", "--json").output)
    [limit] = seen["limits"]
    assert (limit["kind"], limit["key"], limit["live"], limit["most"]) == (
        "concurrency",
        "stripe",
        0,
        3,
    )
    assert seen["dependencies"][0]["phase"] == "open"
    text = run("list", "-a", "limited_app").output
    assert text.splitlines()[0] == "concurrency stripe: 0 of 3"
    assert "dependency stripe: open" in text
    assert run("close", "stripe", "-a", "limited_app").output == "stripe: closed\n"
    assert run("reset", "stripe", "-a", "limited_app").output == "stripe: closed\n"
    unknown = run("open", "paypal", "-a", "limited_app")
    assert unknown.exit_code == 1
    assert "it has: stripe" in unknown.output
