"""What is done on the command line stands in the audit log, beside what dashboards do."""

from __future__ import annotations

import socket
import time

import pytest

from turnout import auditlog
from turnout.errors import StoreUnavailable


def lines(shop) -> list[tuple[str, str, int]]:
    """What the audit log holds, the oldest first."""
    entries = auditlog.kept(shop.store, time.time())
    return [(one.action, one.subject, one.count) for one in reversed(entries)]


def test_who_did_it_and_where_is_told(cli, shop, monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    job_id = shop.dead()
    cli("dead", "retry", job_id)
    [entry] = auditlog.kept(shop.store, time.time())
    assert (entry.who, entry.role, entry.address) == ("anna", "command line", socket.gethostname())
    assert (entry.action, entry.subject, entry.count) == ("retry", f"jobs {job_id}", 1)
    assert entry.at == pytest.approx(time.time(), abs=60)


def test_jobs_changed_by_a_filter_are_one_line(cli, shop):
    for _ in range(3):
        shop.dead()
    cli("dead", "delete", "--queue", "critical", "--yes")
    cli("jobs", "cancel", "--all", "--yes", code=0)
    assert lines(shop) == [("delete", "dead jobs in queue critical", 3)]


def test_what_changed_nothing_is_no_line(cli, shop):
    cli("jobs", "delete", shop.running(), code=1)
    assert lines(shop) == []


def test_queues_workers_and_deploys(cli, shop):
    shop.running()
    shop.ready()
    cli("queues", "pause", "critical")
    cli("queues", "resume", "critical")
    cli("queues", "purge", "critical", "--yes")
    cli("workers", "quiet", "web1:4711:x")
    cli("deploy", "shop.jobs", "v1.42")
    assert lines(shop) == [
        ("pause", "queue critical", 1),
        ("resume", "queue critical", 1),
        ("purge", "queue critical", 1),
        ("quiet", "worker web1:4711:x", 1),
        ("mark deploy", "v1.42", 1),
    ]


def test_a_replay_is_begun_and_stopped(cli, shop):
    shop.dead()
    begun = cli.json("dead", "retry", "--all", "--rate", "1", "--yes")
    cli("dead", "stop", begun["id"])
    assert lines(shop) == [
        ("replay", f"{begun['id']}: dead jobs", 1),
        ("stop replay", begun["id"], 0),
    ]


def test_a_line_that_could_not_be_written_is_told_and_undoes_nothing(cli, shop, monkeypatch):
    def away(*_args):
        raise StoreUnavailable("the shard of it is away")

    monkeypatch.setattr(auditlog._RING, "add", away)
    shop.ready()
    result = cli("queues", "pause", "critical")
    assert "paused: critical" in result.stdout
    assert "done, but the audit log has no line of it: the shard of it is away" in result.stderr
    [queue] = shop.store.count()
    assert queue.paused
