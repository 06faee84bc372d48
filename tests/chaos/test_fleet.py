"""The fleet signals what it started, and nothing else."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from process.rig import wait_until
from turnout.testing.chaos import fleet

pytestmark = pytest.mark.process
PARENT = "import subprocess; subprocess.Popen(['sleep', '60']).wait()"


def test_an_orphan_is_ours_until_its_pid_is_given_to_somebody_else(tmp_path, monkeypatch):
    member = fleet.Member([sys.executable, "-c", PARENT], tmp_path / "log")
    [child] = wait_until(member.children, "it has a child")
    try:
        member.process.kill()
        member.process.wait(10)
        assert member.children() == [child], "an orphan"
        monkeypatch.setattr(fleet, "_birth", lambda _pid: "later")
        assert member.children() == []
    finally:
        os.kill(child, signal.SIGKILL)
