from __future__ import annotations

import msgspec
import pytest

from turnout.cli.check import is_served
from turnout.job import WorkerInfo


def findings(document, level):
    return {f["subject"]: f["message"] for f in document["findings"] if f["level"] == level}


def test_a_sound_set_up(cli, shop):
    document = cli.json("check", "--app", "shop.jobs")

    assert document["ok"] is True
    fine = findings(document, "ok")
    assert "2 tasks in critical, default" in fine["application"]
    assert fine["durability"] == "an enqueue survives a power cut, a settle a killed process"
    assert "msgspec" in fine["packages"]
    assert "none is running" in findings(document, "warning")["workers"]


def test_text(cli, shop):
    said = cli("check", "--url", "sqlite:///jobs.db").stdout

    assert "durability" in said


def test_every_fault_at_once(cli, folder, monkeypatch):
    document = cli.json("check", "--app", "shop.jbos", "--url", "sqlite:///typo.db", code=1)

    assert document["ok"] is False
    faults = findings(document, "fault")
    assert "there is no module" in faults["application"]
    assert "there is no store" in faults["store"]


def test_an_application_that_cannot_be_imported(cli):
    assert "there is no module" in cli("check", "-a", "nope", code=1).stdout


def test_a_store_that_is_no_store(cli, folder):
    (folder / "noise.db").write_text("this is no database, " * 100)

    document = cli.json("check", "--url", "sqlite:///noise.db", code=1)
    assert "not an SQLite database" in findings(document, "fault")["store"]


def test_what_waits_for_nobody(cli, shop):
    shop.dead()
    shop.ready()
    shop.app.task(name="old.task")(lambda: None).enqueue()
    shop.store.pause("critical", paused=True)

    warned = findings(cli.json("check", "-a", "shop.jobs"), "warning")
    assert "1 queued job of a task" in warned["task old.task"]
    assert "turnout dead list --queue critical" in warned["queue critical"]
    assert "paused" in cli("check", "-a", "shop.jobs").stdout


def test_queues_that_no_worker_serves(cli, shop):
    shop.ready()
    shop.store.heartbeat(worker("mail"), ttl=60)

    warned = findings(cli.json("check", "-a", "shop.jobs"), "warning")
    assert "no running worker serves it" in warned["queue critical"]
    assert "workers" not in warned


def worker(*queues):
    return WorkerInfo(
        epoch="e2", name="w", host="h", pid=1, queues=queues, concurrency=1, started_at=0.0
    )


@pytest.mark.parametrize(
    ("queues", "served"), [((), True), (("*",), True), (("a", "b"), True), (("b",), False)]
)
def test_is_served(queues, served):
    assert is_served("a", [worker(*queues)]) is served
    assert is_served("a", []) is False
    assert msgspec.structs.asdict(worker())["queues"] == ()
