"""A few seconds of faults on every store, by fixed seeds: nothing is lost, nothing unexplained."""

from __future__ import annotations

import json

import pytest

from chaos.rig import ChaosRig, Settings
from chaos.stages import STAGES

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]


@pytest.fixture(params=STAGES)
def stage(request, tmp_path):
    made = STAGES[request.param](tmp_path)
    yield made
    made.close()


def test_nothing_is_lost_and_nothing_doubled_without_a_reason(stage, tmp_path):
    report = ChaosRig(stage, tmp_path, Settings(seed=5, seconds=7.0)).run()
    told = json.dumps(report, indent=1)
    assert report["lost"] == 0, told
    assert report["told"] == [], told
    assert report["effects"]["doubled"] == 0
    # The run was one: jobs of every kind ended, and faults of several kinds were made.
    assert report["states"]["succeeded"] > 50, told
    assert {"dead", "discarded"} <= report["states"].keys(), told
    assert len(report["faults"]) >= 4, told
    assert report["limits"]["jobs"] > 0, told
