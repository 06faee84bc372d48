from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

SCENARIO = """
name = "small & <fast>"
duration = 120.0
seeds = 2
workers = 10
[arrivals]
rate = 5.0
[service]
time = 0.2
knee = 2
[[fault]]
kind = "outage"
at = 20.0
for = 10.0
[[policy]]
name = "naive <b>"
[[policy]]
name = "adaptive"
adaptive = true
"""


@pytest.fixture(autouse=True)
def scenario(folder):
    (folder / "small.toml").write_text(SCENARIO)


def test_prints_a_table_and_draws_a_page(cli, folder):
    result = cli("simulate", "small.toml", "--processes", "1")
    lines = result.stdout.splitlines()
    assert "attempts/job" in result.stdout
    assert any(line.startswith("adaptive ") and "2 of 2" in line for line in lines)
    assert "drawn to small.html" in result.stdout
    page = (folder / "small.html").read_text("utf-8")
    assert "small &amp; &lt;fast&gt;" in page
    assert "naive &lt;b&gt;" in page
    assert "<b>" not in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")  # nothing is fetched


def test_json_and_svg(cli, folder):
    figures = cli.json("simulate", "small.toml", "--report", "a.svg", "--processes", "1")
    assert [one["name"] for one in figures["policies"]] == ["naive <b>", "adaptive"]
    assert figures["scenario"]["seeds"] == 2
    assert not (folder / "small.html").exists()
    root = ET.fromstring((folder / "a.svg").read_text("utf-8"))
    lines = [one for one in root.iter() if one.tag.endswith("polyline")]
    assert len(lines) == 4  # two policies in two panels
    assert all(len(line.get("points").split()) == 12 for line in lines)


def test_the_tasks_of_an_application_compete(cli):
    figures = cli.json("simulate", "small.toml", "--from-app", "shop.jobs", "--seeds", "1")
    assert "shop.jobs.charge and 1 more" in [one["name"] for one in figures["policies"]]


def test_faults_are_told_without_a_traceback(cli, folder):
    (folder / "bad.toml").write_text(SCENARIO.replace("workers", "wrokers"))
    result = cli("simulate", "bad.toml", code=1)
    assert "did you mean workers?" in result.stderr
    cli("simulate", "none.toml", code=1)
    cli("simulate", "small.toml", "--report", "a.png", code=2)
    gone = cli("simulate", "small.toml", "--seeds", "1", "--report", "no/where.svg", code=1)
    assert "--report" in gone.stderr
