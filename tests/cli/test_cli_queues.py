from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from turnout.job import State


def test_status_shows_queues_and_workers(cli, shop):
    shop.dead()
    shop.running()
    shop.scheduled()
    shop.ready()

    seen = cli.json("status")
    (queue,) = seen["queues"]
    assert [queue[k] for k in ("ready", "scheduled", "running", "dead")] == [1, 1, 1, 1]
    assert seen["location"].endswith("jobs.db")
    assert [worker["pid"] for worker in seen["workers"]] == [4711]
    said = cli("status").stdout
    assert said.splitlines()[1].split()[:5] == ["critical", "1", "1", "1", "1"]
    assert "1 worker, 0 of 10 slots busy" in said
    assert "web1:4711:x running 0/10" in said


def test_status_of_an_idle_store_without_workers(cli, shop):
    assert cli("status").stdout.splitlines()[-1] == "no worker is running"
    shop.ready()
    assert "start one with turnout worker" in cli("status").stdout


def test_status_on_a_terminal(cli, shop, monkeypatch):
    monkeypatch.setattr("turnout.cli.output.is_terminal", lambda: True)
    shop.ready()

    assert "critical" in cli("status").stdout


# A shell's `&` makes its children ignore SIGINT, and theirs.
_HEEDING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_status_watch_prints_a_line_a_look_and_ends_with_130(shop, program):
    command, env = program
    watch = [*command, "status", "--watch", "--json", "--interval", "100ms"]
    heeding = [sys.executable, "-c", _HEEDING, *watch]
    with subprocess.Popen(heeding, env=env, stdout=subprocess.PIPE, text=True) as child:
        looks = [json.loads(child.stdout.readline()) for _ in range(3)]
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 130
    assert looks[0]["at"] < looks[2]["at"]


def test_the_live_table_looks_again(cli, shop, monkeypatch):
    monkeypatch.setattr("turnout.cli.output.is_terminal", lambda: True)
    looks = iter([None, None])

    def tick(_seconds):
        if next(looks, 1) is not None:
            raise KeyboardInterrupt

    monkeypatch.setattr("turnout.cli.status.time.sleep", tick)
    cli("status", "--watch", code=130)


def test_list(cli, shop):
    shop.ready()

    assert cli.json("queues", "list")["queues"][0]["queue"] == "critical"
    assert "critical" in cli("queues", "list").stdout


def test_pause_and_resume(cli, shop):
    shop.ready()

    assert cli("queues", "pause", "critical").stdout == "paused: critical\n"
    assert shop.store.count()[0].paused
    assert "paused" in cli("status").stdout
    assert cli.json("queues", "resume", "critical") == {"queues": ["critical"], "paused": False}
    assert not shop.store.count()[0].paused


@pytest.mark.parametrize("verb", ["pause", "resume", "purge"])
def test_a_misspelt_queue_changes_nothing(cli, shop, verb):
    shop.ready()

    said = cli("queues", verb, "critical", "critcal", code=1).stderr
    assert "did you mean 'critical'?" in said
    assert not shop.store.count()[0].paused
    assert shop.store.count()[0].ready == 1
    assert "Missing argument" in cli("queues", verb, code=2).stderr


def test_pausing_a_queue_ahead_of_its_first_job(cli, shop):
    assert "known are: none" in cli("queues", "pause", "later", code=1).stderr
    cli("queues", "pause", "later", "--new")
    assert shop.store.count()[0].paused


def test_purge_deletes_what_is_queued_only(cli, shop):
    dead, running = shop.dead(), shop.running()
    ready, scheduled, mail = shop.ready(), shop.scheduled(), shop.mail.enqueue("ann").id

    assert cli.json("queues", "purge", "critical", "--yes")["changed"] == 2
    assert shop.state(ready) is shop.state(scheduled) is None
    assert shop.state(dead) is State.DEAD
    assert shop.state(running) is State.RUNNING
    assert shop.state(mail) is State.QUEUED


def test_purge_asks_a_person(cli, shop, monkeypatch):
    monkeypatch.setattr("turnout.cli.output.is_interactive", lambda: True)
    job_id = shop.ready()

    said = cli("queues", "purge", "critical", input="n\n", code=1).stderr
    assert "Delete queued jobs in queue critical (1)?" in said
    assert shop.state(job_id) is State.QUEUED


def test_migrate_makes_the_store_and_may_be_repeated(cli, folder):
    assert "jobs.db is ready" in cli("migrate", "--app", "shop.jobs").stdout
    assert cli.json("migrate", "--url", "sqlite:///jobs.db")["ready"] is True
    assert (folder / "jobs.db").exists()


def test_migrate_prints_sql_and_changes_nothing(cli, folder):
    assert "CREATE TABLE" in cli("migrate", "--sql", "-a", "shop.jobs").stdout
    assert "CREATE TABLE" in cli.json("migrate", "--sql", "-a", "shop.jobs")["sql"]
    assert os.listdir(folder) == ["shop"]  # noqa: PTH208


def test_an_interval_is_a_length_of_time_within_reason(cli, shop):
    assert "0.1 s to 1 h apart" in cli("status", "--interval", "2h", code=2).stderr
    assert "write 90s" in cli("status", "--interval", "soon", code=2).stderr
    cli("status", "--interval", "5s")
