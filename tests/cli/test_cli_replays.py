"""`turnout dead retry --rate`, `turnout dead replays` and `turnout dead stop`."""

from __future__ import annotations

import re

import pytest

from turnout.job import State
from turnout.worker.replayer import Replayer


def test_begin_see_and_stop(cli, shop):
    jobs = [shop.dead() for _ in range(5)]
    options = ("--rate", "0.5", "--canary", "3", "--canary-share", "80%", "--stop-at", "30%")
    said = cli("dead", "retry", "--all", "--yes", *options)
    replay = re.match(r"replay (\w+): 5 jobs to go", said.stdout)[1]
    assert {shop.state(one) for one in jobs} == {State.DEAD}
    Replayer(shop.app, "w").step()
    assert [shop.state(one) for one in jobs].count(State.QUEUED) == 1
    [one] = cli.json("dead", "replays")
    plan = {"rate": 0.5, "canary": 3, "canary_share": 0.8, "stop_at": 0.3}
    assert one["id"] == replay
    assert {name: one["plan"][name] for name in plan} == plan
    assert f"{replay} canary: 1 of 5 jobs" in cli("dead", "replays").stdout
    assert f"{replay} stopped: 1 job sent" in cli("dead", "stop", replay).stdout
    assert "stopped (by " in cli("dead", "replays").stdout


def test_only_what_the_filters_leave(cli, shop):
    broken, late = shop.dead(), shop.dead(error="builtins.TimeoutError")
    cli("dead", "retry", "--error", "TimeoutError", "--rate", "100", "--yes")
    Replayer(shop.app, "w").step()
    assert (shop.state(late), shop.state(broken)) == (State.QUEUED, State.DEAD)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--rate", "5"), "which jobs?"),
        (("--all", "--yes", "--stop-at", "300%"), "write 30% or 0.3"),
        (("018f0000-0000-7000-8000-000000000001", "--rate", "5"), "filters or --all"),
    ],
)
def test_what_is_refused(cli, shop, argv, said):
    shop.dead()
    assert said in cli("dead", "retry", *argv, code=2).stderr
    assert cli("dead", "replays").stdout == "nothing was replayed lately\n"


def test_a_plan_that_makes_no_sense(cli, shop):
    said = cli("dead", "retry", "--all", "--yes", "--canary", "1000", code=1)
    assert "canary is at most 150 jobs" in said.stderr


def test_stop_what_is_not_there(cli, shop):
    assert "there is no replay ffff" in cli("dead", "stop", "ffff", code=1).stderr
