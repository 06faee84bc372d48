"""A real Ruby with Sidekiq, from the system: Debian's ruby-sidekiq and ruby-activejob."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

_WANTED = "require 'sidekiq/api'; require 'active_job'; print Sidekiq::VERSION"


@cache
def absence() -> str | None:
    """Say what is missing; None when nothing is."""
    if not shutil.which("ruby") or not shutil.which("sidekiq"):
        return "no Sidekiq: apt-get install ruby-sidekiq ruby-activejob"
    tried = subprocess.run(
        ["ruby", "-e", _WANTED], capture_output=True, text=True, timeout=60, check=False
    )
    if tried.returncode:
        return f"no usable Sidekiq: {tried.stderr.strip()[-300:]}"
    return None


def need() -> None:
    """Skip the test where there is no Ruby; fail it where there must be one."""
    reason = absence()
    if reason is not None and os.environ.get("CI"):
        pytest.fail(reason)
    if reason is not None:
        pytest.skip(reason)


def environment(url: str) -> dict[str, str]:
    """Return a process's environment in which Sidekiq finds its server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REDIS_")}
    return {**kept, "REDIS_URL": url, "LC_ALL": "C.UTF-8"}


class Console:
    """One Ruby process that evaluates what it is sent; to start one takes a second."""

    def __init__(self, classes: Path) -> None:
        self._process = subprocess.Popen(
            ["ruby", "-r", str(classes), "-r", "sidekiq/api", "-e", _CONSOLE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment("redis://127.0.0.1:1/0"),
        )

    def run(self, url: str, folder: Path, code: str) -> Any:
        """Evaluate code on a server's database; its value comes back, by JSON."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = json.dumps({"url": url, "folder": str(folder), "code": code})
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=10)


_CONSOLE = """
Sidekiq.logger.level = Logger::WARN
Sidekiq.logger.reopen($stderr) if Sidekiq.logger.respond_to?(:reopen)
STDIN.each_line do |line|
  order = JSON.parse(line)
  ENV["TURNOUT_TEST_FOLDER"] = order["folder"]
  Sidekiq.redis = { url: order["url"] }
  answer = begin
    { value: eval(order["code"]) }
  rescue Exception => e
    { error: e.full_message(highlight: false) }
  end
  STDOUT.puts(JSON.generate(answer))
  STDOUT.flush
end
"""


@cache
def console(classes: Path) -> Console:
    """The console of this test process, started at first use and ended with the process."""
    started = Console(classes)
    atexit.register(started.close)
    return started
