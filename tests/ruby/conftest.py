"""A server, a folder, and processes of both languages, none of which outlives its test."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

import redis
import turnout
from ruby.app import Ledger, make_app
from support import ruby, valkey

HERE = Path(__file__).parent
T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str = "", *, timeout: float = 45.0) -> T:
    """Return the condition's value once it is true; fail the test when it is not in time."""
    pause, deadline = threading.Event(), time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what or condition}"
        pause.wait(0.02)
    return value


class Shop:
    """One server's database, shared by an application in Python and one in Ruby."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.jobs = make_app(url, folder)
        self.ledger = Ledger(folder)
        self.raw = redis.Redis.from_url(url, decode_responses=True)
        self._started: list[subprocess.Popen[bytes]] = []
        self._rubies: list[subprocess.Popen[bytes]] = []

    def ruby(self, code: str) -> Any:
        """Run Ruby here; the value of its last line comes back."""
        return ruby.console(HERE / "jobs.rb").run(self.url, self.folder, code)

    def worker(self, queues: str = "") -> subprocess.Popen[bytes]:
        """Start a worker of Turnout's and wait until it is at work."""
        command = [sys.executable, str(HERE / "app.py"), self.url, str(self.folder), queues]
        environment = {**os.environ, "PYTHONPATH": str(Path(turnout.__file__).parents[1])}
        started = self._start(command, environment, "worker.log")
        wait_until(self.jobs.store.workers, "the worker is at work")
        return started

    def sidekiq(self, *queues: str) -> subprocess.Popen[bytes]:
        """Start a real Sidekiq and wait until it is at work."""
        known = self.raw.scard("processes")
        (self.folder / "sidekiq.yml").write_text(
            ":concurrency: 2\n:poll_interval_average: 1\n:timeout: 5\n"
            f":queues: [{', '.join(queues)}]\n"
        )
        command = ["sidekiq", "-r", str(HERE / "jobs.rb"), "-C", "sidekiq.yml"]
        environment = {**ruby.environment(self.url), "TURNOUT_TEST_FOLDER": str(self.folder)}
        started = self._start(command, environment, "sidekiq.log")
        self._rubies.append(started)
        wait_until(lambda: self.raw.scard("processes") > known, "Sidekiq is at work")
        return started

    def _start(
        self, command: list[str], environment: dict[str, str], log: str
    ) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as out:
            started = subprocess.Popen(
                command,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                env=environment,
                cwd=self.folder,
            )
        self._started.append(started)
        return started

    def until_said(self, name: str, count: int = 1) -> list[list[Any]]:
        """Return what jobs of a class wrote, once there are so many."""
        return wait_until(
            lambda: len(said := self.ledger.said(name)) >= count and said,
            f"{count} x {name}; {self.logs()}",
        )

    def logs(self) -> str:
        return "\n".join(one.read_text() for one in self.folder.glob("*.log"))

    def close(self) -> None:
        for one in self._rubies:
            one.kill()  # its orderly end takes seconds
        for one in self._started:
            one.terminate()
        for one in self._started:
            try:
                one.wait(20)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait(10)
        self.jobs.close()
        self.raw.close()


@pytest.fixture
def shop(tmp_path) -> Iterator[Shop]:
    """An empty shop."""
    ruby.need()
    made = Shop(valkey.fresh_url(), tmp_path)
    yield made
    made.close()
