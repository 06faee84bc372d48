"""`turnout deploy`: what a deploy script calls, and what it is told when it calls it wrongly."""

from __future__ import annotations

import getpass
import subprocess
import time

import pytest

from turnout.deploys import Deploys


def test_a_script_marks_a_deploy(cli, shop):
    before = round(time.time(), 3)
    said = cli("deploy", "shop.jobs", "v1.42", "--by", "ann").stdout
    [mark] = shop.app.deploys.all()
    assert (mark.label, mark.by) == ("v1.42", "ann")
    assert before <= mark.at <= time.time()
    assert said.startswith("marked: v1.42, 20")
    assert said.endswith(" by ann\n")


def test_programs_get_the_mark_as_json(cli, shop):
    told = cli.json("deploy", "shop.jobs:jobs", "v1.42", "--by", "ann")
    [mark] = shop.app.deploys.all()
    assert told == {"label": "v1.42", "at": mark.at, "by": "ann"}


def test_who_runs_it_is_who_deploys(cli, shop, monkeypatch):
    monkeypatch.setenv("LOGNAME", "bert")
    cli("deploy", "shop.jobs", "v1.42")
    assert shop.app.deploys.all()[0].by == "bert"


def test_a_container_without_a_name_for_its_user_is_no_obstacle(cli, shop, monkeypatch):
    def nobody():
        raise KeyError("getpwuid(): uid not found: 1000730000")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert " by " not in cli("deploy", "shop.jobs", "v1.42").stdout
    assert shop.app.deploys.all()[0].by == ""


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("", "label is empty: say what was deployed, such as v1.42"),
        ("   ", "label is empty"),
        ("x" * 61, "at most 60 characters; this one has 61"),
        ("v1\nv2", "one line of printable characters, got 'v1\\nv2'"),
    ],
)
def test_labels_that_are_refused(cli, shop, label, said):
    told = " ".join(cli("deploy", "shop.jobs", label, code=2).stderr.split())
    assert said in told
    assert shop.app.deploys.all() == []


def test_a_script_that_forgets_the_label_is_told(cli):
    assert "Missing argument 'LABEL'" in cli("deploy", "shop.jobs", code=2).stderr


def test_a_label_is_refused_before_the_application_is_imported(cli):
    assert "label is empty" in cli("deploy", "no.such.module", "", code=2).stderr
    assert "there is no module" in cli("deploy", "no.such.module", "v1", code=1).stderr


def test_a_store_that_is_not_there_is_not_made(cli, folder):
    assert "there is no store" in cli("deploy", "shop.jobs", "v1.42", code=3).stderr
    assert not (folder / "jobs.db").exists()


def test_a_store_in_memory_keeps_no_marks_for_others(cli, folder):
    (folder / "brief.py").write_text('from turnout import Turnout\njobs = Turnout("memory:")\n')
    assert "lives inside one process" in cli("deploy", "brief", "v1.42", code=1).stderr


def test_the_real_program(program, shop, folder):
    command, env = program
    done = subprocess.run(
        [*command, "deploy", "shop.jobs", "v1.42 \u2013 <b>"],
        env=env, cwd=folder, capture_output=True, check=False, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [one.label for one in Deploys(shop.store).all()] == ["v1.42 \u2013 <b>"]
