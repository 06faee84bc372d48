"""A scenario file with faults is refused with all of them, and the nearest known name."""

from __future__ import annotations

import pytest

from turnout.errors import ConfigError
from turnout.sim import load_scenario
from turnout.sim.reading import read_scenario


def test_every_fault_at_once(storm):
    storm["sedes"] = 3
    storm["workers"] = "many"
    storm["arrivals"]["rat"] = 5
    storm["service"]["knee"] = 0
    storm["service"]["timeout"] = -1
    storm["fault"].append({"kind": "outtage", "at": 1})
    storm["policy"].append({"name": "x", "waits": {}, "adaptive": {"flor": 2}})
    with pytest.raises(ConfigError) as caught:
        read_scenario(storm, "storm.toml")
    for words in (
        "storm.toml has 9 faults",
        "the file has no 'sedes'; did you mean seeds?",
        "workers: Expected `int`, got `str`",
        "arrivals has no 'rat'; did you mean rate?",
        "service: knee must be a whole number from 1",
        "service: timeout must be more than 0",
        "fault 2.kind",
        "fault 2 needs for",
        "policy 'x' has no 'waits'; did you mean wait?",
        "policy 'x'.adaptive has no 'flor'; did you mean floor?",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"policy": [{"name": "x", "wait": {"shape": "expo"}}]}, "shape is one of polynomial"),
        (
            {"policy": [{"name": "x", "wait": {"shape": "fixed", "secs": 1}}]},
            "did you mean seconds?",
        ),
        ({"policy": [{"name": "x", "wait": {"shape": "fixed"}}]}, "needs seconds"),
        ({"policy": [{"name": "x", "wait": {"shape": "exponential", "factor": 0.5}}]}, "factor"),
        ({"policy": [{"name": "x", "attempts": 0}]}, "attempts"),
        ({"policy": [{"name": "x", "concurrency": 0}]}, "most"),
        ({"policy": [{"name": "x", "rate": {"most": 5, "per": -1}}]}, "per"),
        ({"policy": [{"name": "x"}, {"name": "x"}]}, "several policies are called x"),
        ({"policy": []}, "no [[policy]]"),
        ({"policy": {"name": "x"}}, "list of tables"),
        ({"policy": [3]}, "policy 1 is a table"),
        ({"duration": 100.0}, "over only after"),
        ({"arrivals": {"rate": 90_000.0}}, "jobs"),
        ({"arrivals": 3}, "arrivals is a table"),
        ({"arrivals": {}}, "arrivals needs rate"),
        ({"duration": float("nan")}, "duration"),
    ],
)
def test_one_fault(storm, change, words):
    with pytest.raises(ConfigError) as caught:
        read_scenario({**storm, **change})
    assert words in str(caught.value)


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        load_scenario(tmp_path / "none.toml")
    path = tmp_path / "bad.toml"
    path.write_text("= 3")
    with pytest.raises(ConfigError, match="not TOML"):
        load_scenario(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot read"):
        load_scenario(path)
