"""A small application in a folder of its own, real stores, and the command line to try on them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

import turnout
from turnout.cli import main
from turnout.job import AttemptRecord, JobId, Outcome, State, Trail, Want, WorkerInfo
from turnout.store import open_store

APP = """
from datetime import date
from turnout import Turnout

jobs = Turnout("sqlite:///jobs.db")

@jobs.task(queue="critical")
def charge(order_id: int, day: date | None = None, *rest: int, note: str = "-", **more: float):
    ...

@jobs.task(unique=True)
def mail(to: str, times: int = 1):
    ...
"""
WORKER = WorkerInfo(
    epoch="e1", name="web1:4711:x", host="web1", pid=4711, queues=(), concurrency=10, started_at=0.0
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder with shop/jobs.py in it, nothing of it in the import system."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("TURNOUT_URL", "TURNOUT_APP", "TURNOUT_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "jobs.py").write_text(APP)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if not name.startswith("turnout") and str(tmp_path) in str(
            getattr(sys.modules[name], "__file__", "")
        ):
            del sys.modules[name]


class Cli:
    """Runs `turnout` in this process and keeps what it said."""

    def __call__(self, *args: str, code: int = 0, **options: Any) -> Result:
        result = CliRunner().invoke(main, list(args), **options)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    def json(self, *args: str, code: int = 0) -> Any:
        return json.loads(self(*args, "--json", code=code).stdout)


@pytest.fixture
def cli():
    return Cli()


class Shop:
    """The store of the application, and jobs in any state."""

    def __init__(self) -> None:
        self.app = turnout.Turnout("sqlite:///jobs.db")
        self.task = self.app.task(name="shop.jobs.charge", queue="critical")(lambda order_id: None)
        self.mail = self.app.task(name="shop.jobs.mail")(lambda to: None)
        self.store = open_store("sqlite:///jobs.db")
        self.store.setup()

    def ready(self, order_id: int = 1) -> JobId:
        return self.task.enqueue(order_id).id

    def scheduled(self, delay: float = 3600) -> JobId:
        return self.task.using(delay=delay).enqueue(1).id

    def running(self) -> JobId:
        job_id = self.ready()
        assert self._lease().id == job_id
        return job_id

    def dead(self, error: str = "builtins.KeyError", message: str = "'x'") -> JobId:
        job_id = self.ready()
        assert self.kill_next(error, message) == job_id
        return job_id

    def kill_next(self, error: str = "builtins.KeyError", message: str = "'x'") -> JobId:
        leased = self._lease()
        entry = AttemptRecord(
            1, 10.0, 10.5, WORKER.name, "dead", error, message, f"Traceback ...\n{error}: {message}"
        )
        trail = msgspec.json.encode(Trail(attempts=(entry,))).decode()
        outcome = Outcome.ended(leased, State.DEAD, entry, trail, reason="no attempts left")
        assert self.store.exchange("e1", [outcome], None).settled == [leased.id]
        return leased.id

    def succeeded(self) -> JobId:
        self.ready()
        leased = self._lease()
        outcome = Outcome.succeeded(leased, 10.0, 10.25, keep=3600.0, result='{"paid":true}')
        assert self.store.exchange("e1", [outcome], None).settled == [leased.id]
        return leased.id

    def state(self, job_id: JobId) -> State | None:
        found = self.store.find(turnout.job.JobFilter(ids=(job_id,)))
        return found[0].state if found else None

    def _lease(self) -> Any:
        self.store.heartbeat(WORKER, ttl=3600)
        leased = self.store.exchange("e1", [], Want((("critical", 1),), 1)).leased
        return leased[0]


@pytest.fixture
def shop(folder):
    found = Shop()
    yield found
    found.app.close()
    found.store.close()


@pytest.fixture
def program():
    """The command line of the real program, and its environment."""
    source = str(Path(turnout.__file__).parents[1])
    return [sys.executable, "-m", "turnout"], {**os.environ, "PYTHONPATH": source}
