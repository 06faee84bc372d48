"""`turnout bench`: small runs, and what their results say. The figures are not judged."""

from __future__ import annotations

import sqlite3

import pytest

from turnout import Turnout
from turnout.cli import _bench_load
from turnout.cli._bench_load import Load, for_each
from turnout.errors import TurnoutError

pytestmark = pytest.mark.process

FIELDS = {"measure", "store", "durability", "jobs", "processes", "threads", "seconds", "machine"}
MACHINE = {"cpu", "cores", "system", "python", "load_average"}


def test_drain_runs_and_settles_every_job(cli):
    result = cli.json("bench", "drain", "--jobs", "500", "--processes", "2", "--threads", "3")
    assert FIELDS | {"jobs_per_s"} <= result.keys()
    assert result["machine"].keys() == MACHINE
    assert (result["measure"], result["jobs"], result["processes"]) == ("drain", 500, 2)
    assert sum(result["jobs_each"]) == 500
    assert result["jobs_per_s"] == pytest.approx(500 / result["seconds"], rel=0.05)
    assert result["store"] == f"SQLite {sqlite3.sqlite_version}"
    assert "an enqueue survives a power cut" in result["durability"]


@pytest.mark.parametrize("more", [["--no-trace"], ["--async"], ["--wait", "1"]])
def test_drain_of_other_kinds(cli, more):
    result = cli.json("bench", "drain", "--jobs", "100", *more)
    assert sum(result["jobs_each"]) == 100
    assert result["trace"] is ("--no-trace" not in more)


def test_drain_in_memory(cli):
    result = cli.json("bench", "drain", "--jobs", "100", "--url", "memory:bench")
    assert result["store"] == "memory"


def test_memory_has_one_process(cli):
    said = cli("bench", "drain", "--url", "memory:bench", "--processes", "2", code=1)
    assert "lives in one process" in said.stderr
    assert "only one" in cli("bench", "latency", "--url", "memory:bench", code=1).stderr


@pytest.mark.parametrize("more", [[], ["--bulk"], ["--processes", "2", "--threads", "2"]])
def test_enqueue(cli, more):
    result = cli.json("bench", "enqueue", "--jobs", "50", *more)
    assert FIELDS | {"jobs_per_s"} <= result.keys()
    assert result["measure"] == ("enqueue bulk" if "--bulk" in more else "enqueue single")


def test_latency(cli, monkeypatch):
    monkeypatch.setattr("turnout.cli._bench_latency.latency.__defaults__", (0.05,))
    result = cli.json("bench", "latency", "--jobs", "5")
    assert result.keys() >= FIELDS
    assert 0 < result["p50_ms"] <= result["p95_ms"] <= result["p99_ms"]
    assert 0 < result["enqueue_p50_ms"] <= result["p99_ms"]
    assert result["idle_cpu_percent"] >= 0


def test_a_store_in_use_keeps_its_jobs_and_none_of_ours(cli, tmp_path):
    url = f"sqlite:///{tmp_path}/mine.db"
    mine = Turnout(url)
    task = mine.task(name="mine")(lambda: None)
    task.enqueue()
    for words in (["drain", "--jobs", "50"], ["enqueue", "--jobs", "5"]):
        cli("bench", *words, "--url", url)
    stats = {s.queue: s for s in mine.store.count()}
    mine.close()
    assert stats["default"].ready == 1
    ours = stats.get(_bench_load.QUEUE)
    assert ours is None or (ours.ready, ours.running, ours.succeeded) == (0, 0, 0)


def test_text_for_people(cli):
    said = cli("bench", "drain", "--jobs", "50").stdout
    assert "jobs/s" in said
    assert "50 jobs of 200 bytes" in said
    assert "1 process, 10 threads each" in said


def test_an_unreachable_store_is_exit_code_3(cli, tmp_path):
    cli("bench", "drain", "--url", f"sqlite:///{tmp_path}/no/such/folder/x.db", code=3)


def test_arguments_have_the_size_that_was_asked_for():
    load = Load(url="memory:", jobs=1, payload=200)
    _, task = load.application()
    assert len(task.prepare(load.text).new.args) == 200


def test_a_process_that_fails_is_told_of():
    def fail(_load, _index, start):
        start()
        raise ZeroDivisionError("no")

    with pytest.raises(TurnoutError, match="ZeroDivisionError: no"):
        for_each(Load(url="", jobs=1), fail, 2)


def test_a_process_that_vanishes_is_told_of():
    def vanish(_load, _index, _start):
        raise SystemExit if _index else KeyboardInterrupt

    with pytest.raises(TurnoutError, match="measurement failed"):
        for_each(Load(url="", jobs=1), vanish, 2)
