"""The wheel has the newest PostgreSQL only: the same promises on the older one of the system."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import postgres

TESTS = Path(__file__).parents[1]
# Not those that watch a clock: they ask about the worker, and it is the same on each version.
HERE = ("schema", "sparse", "marks", "within", "within_async", "within_django")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(postgres.given(), reason="this run is on a PostgreSQL that somebody named")
@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param([TESTS / "conformance", "-k", "postgresql"], id="conformance"),
        pytest.param([TESTS / "postgres" / f"test_{name}.py" for name in HERE], id="its own"),
    ],
)
def test_the_promises_hold_on_the_oldest_version_that_the_system_has(chosen):
    programs = postgres.oldest_of_the_system()
    if programs is None:
        refuse = pytest.fail if os.environ.get("CI") else pytest.skip
        refuse("no older PostgreSQL: apt-get install postgresql (Debian)")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *chosen],
        env={**os.environ, postgres.PROGRAMS: str(programs)},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        timeout=890,
        check=False,
    )
    assert done.returncode == 0, f"on {programs}:\n{done.stdout}{done.stderr}"
