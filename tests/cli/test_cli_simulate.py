from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET

import pytest

from turnout.metrics import Measured, Spread, bucketed
from turnout.sim.observed import filled, observe
from turnout.store import open_store

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


# ---- with what the store has counted


@pytest.fixture
def counted(shop):
    """Ten minutes of metrics: two jobs a second, 0.05 s each, a tenth of the attempts fails."""
    now = int(time.time()) // 60 * 60
    rows = [
        Measured(
            at=now - 60 * minute,
            task="shop.jobs.charge",
            queue="critical",
            outcomes={"succeeded": 120, "retried": 13},
            run=Spread(133 * 0.05, dict(bucketed([0.05] * 133))),
        )
        for minute in range(1, 11)
    ]
    shop.store.record_metrics("w", 1, rows)


def test_the_observed_load_makes_a_scenario_of_its_own(cli, folder, counted):
    arguments = ("simulate", "--from-app", "shop.jobs", "--seeds", "1", "--processes", "1")
    figures = cli.json(*arguments, "--task", "shop.jobs.charge")
    names = [one["name"] for one in figures["policies"]]
    assert names == ["shop.jobs.charge and 1 more", "with an adaptive limit"]
    result = cli(*arguments)
    first = result.stdout.splitlines()[0]
    found = re.fullmatch(
        r"observed: (\S+) jobs/s, 0.05 s an attempt, 9.8% of them fail, 10 slots", first
    )
    assert found, first
    assert 1.7 < float(found[1]) <= 2.0  # the minute that has just begun counts as well
    assert (folder / "observed.html").exists()


def test_what_a_file_says_stands_and_the_rest_is_filled_in(counted, folder):
    seen = observe(open_store("sqlite:///jobs.db"), 3_600, time.time())
    data = filled({"arrivals": {"shape": "even"}, "service": {"knee": 7}, "duration": 60.0}, seen)
    assert data["arrivals"] == {"rate": seen.rate, "shape": "even"}
    assert (data["service"]["knee"], data["service"]["time"]) == (7, pytest.approx(0.05))
    assert (data["duration"], data["workers"]) == (60.0, 10)
    assert "fault" not in data
    assert seen.spread < 0.2


def test_without_counts_or_with_nothing_to_go_by_it_says_what_to_do(cli, shop):
    said = cli("simulate", "--from-app", "shop.jobs", code=1).stderr
    assert "nothing was counted" in said
    assert "--last" in said
    assert "name a SCENARIO" in cli("simulate", code=2).stderr
