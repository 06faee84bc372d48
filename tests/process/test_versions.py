"""A deploy is not one moment: two versions share a schema that the newer one migrated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conformance.stores import TOMORROW, URLS
from process.rig import Rig, wait_until
from support import nextversion
from turnout.job import State

pytestmark = pytest.mark.process


TESTS = Path(__file__).parents[1]


@pytest.fixture(params=nextversion.SCHEMAS)
def rig(request, tmp_path) -> Iterator[Rig]:
    """A store that has a schema; on Redis there is nothing to migrate."""
    made = Rig(tmp_path, URLS[request.param](tmp_path))
    yield made
    made.close()


@contextmanager
def enqueuing(rig: Rig) -> Iterator[list[str]]:
    """Enqueue jobs all the while, as a web process of the older version does."""
    ids: list[str] = []
    over = threading.Event()

    def flow() -> None:
        while not over.wait(0.01):
            ids.append(rig.enqueue("note", f"{len(ids)}"))

    thread = threading.Thread(target=flow)
    thread.start()
    try:
        yield ids
    finally:
        over.set()
        thread.join(20)


def until_more_ran(rig: Rig, count: int = 20) -> None:
    goal = len(rig.ledger.said("note")) + count
    wait_until(lambda: len(rig.ledger.said("note")) >= goal, "jobs run", timeout=30)


def test_the_older_version_works_on_while_the_newer_one_migrates_and_beside_it(rig):
    older = rig.start(processes=2)
    assert nextversion.number(rig.url) == nextversion.TODAY
    with enqueuing(rig) as ids:
        until_more_ran(rig)
        newer = rig.start(next=True, extra=True)
        assert nextversion.number(rig.url) == nextversion.NEXT
        until_more_ran(rig)
        job = rig.enqueue("newer", "only the newer one knows")
        killed = older.children()[0]
        os.kill(killed, signal.SIGKILL)
        wait_until(
            lambda: killed not in older.children() and rig.at_work(older) == 2,
            "an older one was started again, on the newer schema",
        )
        until_more_ran(rig)
        assert older.stop() == 0
        until_more_ran(rig)
    assert rig.until(job, State.SUCCEEDED).attempt == 1
    for one in ids:
        assert rig.until(one).state is State.SUCCEEDED
    assert newer.stop() == 0
    ran = Counter(line[1] for line in rig.ledger.said("note"))
    assert set(ran) == {f"{n}" for n in range(len(ids))}
    again = {name for name, times in ran.items() if times > 1}
    cut_short = {line[1] for line in rig.ledger.said("note") if int(line[2]) == killed}
    assert again <= cut_short, "only what the killed one had not settled ran twice"
    assert "Traceback" not in older.log


@pytest.mark.timeout(600)
@pytest.mark.parametrize("store", nextversion.SCHEMAS)
def test_the_code_of_today_keeps_every_promise_on_the_schema_of_tomorrow(store, tmp_path):
    """The workers above meet the common ways of a job; this meets every statement."""
    assert URLS[store](tmp_path), "or it is skipped, where there is no such server"
    chosen = [str(TESTS / "conformance"), "-k", store]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *chosen],
        env={**os.environ, TOMORROW: "1"},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
