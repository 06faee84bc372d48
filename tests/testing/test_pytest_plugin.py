"""The fixtures, as another project's test run sees them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import turnout
import turnout.testing

APP = """
from turnout import Turnout

jobs = Turnout("sqlite:///real.db")
done = []

@jobs.task
def charge(order: int):
    done.append(order)
    if order < 0:
        raise ValueError("no such order")
"""
TESTS = """
from pathlib import Path
import pytest
from turnout.testing import assert_enqueued
from shop import charge, done, jobs

@pytest.fixture(autouse=True)
def untouched():
    store = jobs.store
    done.clear()
    yield
    assert jobs.store is store
    assert not Path("real.db").exists()

def test_memory(turnout_memory, turnout_drain):
    turnout_memory(jobs)
    charge.enqueue(7)
    assert_enqueued(jobs, charge, 7)
    assert turnout_drain(jobs) == {"succeeded": 1}
    assert done == [7]

def test_inline(turnout_inline):
    turnout_inline(jobs)
    charge.enqueue(7)
    assert done == [7]
    with pytest.raises(ValueError, match="no such order"):
        charge.enqueue(-1)

def test_inline_quiet(turnout_inline):
    turnout_inline(jobs, raise_errors=False)
    assert charge.enqueue(-1).refresh().attempt == 1

def test_clock(turnout_memory, turnout_clock, turnout_drain):
    turnout_memory(jobs)
    clock = turnout_clock(jobs, 1000.0)
    charge.using(delay=60).enqueue(7)
    clock.advance(59)
    assert turnout_drain(jobs) == {}
    assert turnout_drain(jobs, until=2) == {"succeeded": 1}
    assert clock() == 1061.0
"""


def run(code, folder):
    command = [sys.executable, "-c", code]
    env = {**os.environ, "PYTHONPATH": str(Path(turnout.__file__).parents[1])}
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=50, check=False
    )


def test_the_fixtures_work_and_undo_themselves(tmp_path):
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "test_shop.py").write_text(TESTS)
    plugin = "turnout.testing.pytest_plugin"
    code = (
        "import sys, pytest\n"
        "from importlib.metadata import entry_points\n"
        f"known = any(e.value == {plugin!r} for e in entry_points(group='pytest11'))\n"
        f"given = [] if known else ['-p', {plugin!r}]\n"
        "sys.path.insert(0, '.')\n"
        "sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '-W', 'error', *given]))\n"
    )
    ran = run(code, tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "4 passed" in ran.stdout


def test_loading_the_plugin_is_light(tmp_path):
    heavy = "'turnout.worker', 'turnout.store.sqlite', 'turnout.store.memory', 'click', 'rich'"
    ran = run(
        "import sys, turnout.testing.pytest_plugin\n"
        f"print([name for name in ({heavy}) if name in sys.modules])",
        tmp_path,
    )
    assert ran.stdout == "[]\n", ran.stdout + ran.stderr


def test_every_name_is_there():
    assert all(getattr(turnout.testing, name) for name in turnout.testing.__all__)
    assert not hasattr(turnout.testing, "nothing")
