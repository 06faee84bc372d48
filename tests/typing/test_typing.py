"""mypy --strict accepts good.py whole, and refuses bad.py on its marked lines and nowhere else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import turnout

HERE = Path(__file__).parent
pytest.importorskip("mypy")


@pytest.fixture(scope="module")
def complaints(tmp_path_factory) -> dict[str, dict[int, str]]:
    """What mypy says, by file and line."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--show-absolute-path",
         "--python-version", "3.11", "--config-file", os.devnull,
         "--cache-dir", str(tmp_path_factory.mktemp("cache")),
         str(HERE / "good.py"), str(HERE / "bad.py")],
        capture_output=True, text=True, timeout=50, check=False, cwd=HERE,
        env={**os.environ, "MYPYPATH": str(Path(turnout.__file__).parents[1])},
    )  # fmt: skip
    found: dict[str, dict[int, str]] = {"good.py": {}, "bad.py": {}}
    for line in done.stdout.splitlines():
        match = re.match(r".*?([\w.]+):(\d+): error: (.*)", line)
        if match:
            found.setdefault(match[1], {}).setdefault(int(match[2]), match[3])
    assert done.returncode == 1, done.stdout + done.stderr
    return found


def test_good_programs_are_accepted(complaints):
    assert complaints["good.py"] == {}


def test_every_bad_line_is_refused_and_no_other(complaints):
    lines = (HERE / "bad.py").read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# E:")}
    assert set(complaints["bad.py"]) == marked, complaints["bad.py"]


def test_the_package_itself_raises_no_complaint_in_a_users_check(complaints):
    assert set(complaints) == {"good.py", "bad.py"}
