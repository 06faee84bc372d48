"""What the command line shows of a store that is made of shards."""

from __future__ import annotations

import pytest

from turnout.job import NewJob
from turnout.store import open_store


@pytest.fixture
def url(folder):
    """Two shards in two files: four jobs in a, one in b, which is drained."""
    url = f"sharded:a=sqlite:///{folder}/a.db|b=sqlite:///{folder}/b.db|drain=b"
    store = open_store(url)
    store.setup()
    ids = [f"018f0000-0000-7000-8000-00000000000{n}" for n in range(4)]
    store.enqueue([NewJob(id=each, task="t", queue="mail", args="{}") for each in ids])
    store.close()
    alone = open_store(f"sqlite:///{folder}/b.db")
    alone.enqueue([NewJob(id=f"{ids[0][:-1]}9", task="t", queue="mail", args="{}")])
    alone.close()
    return url


def test_status_is_one_view_with_each_shards_health(cli, url, folder):
    said = cli("status", "--url", url).output
    assert "mail" in said
    assert "2 shards, all up" in said
    assert f"a up at {folder}/a.db, 4 jobs" in said
    assert "b draining at" in said
    assert "1 job left" in said
    seen = cli.json("status", "--url", url)
    assert [queue["ready"] for queue in seen["queues"]] == [5]
    assert [shard["state"] for shard in seen["shards"]] == ["up", "draining"]


def test_a_shard_that_is_away_is_shown_and_is_a_fault_that_hides_nothing(cli, url, folder):
    down = url + "|c=redis://127.0.0.1:1/0"
    said = cli("status", "--url", down).output
    assert "3 shards, 1 away" in said
    assert "c away at redis://127.0.0.1:1/0" in said
    assert "mail" in said
    found = cli.json("check", "--url", down, code=1)
    levels = {each["subject"]: each["level"] for each in found["findings"]}
    assert levels["shard a"] == "ok"
    assert (levels["shard b"], levels["shard c"]) == ("warning", "fault")
    assert levels["workers"] == "warning"


def test_looking_makes_no_shard(cli, url, folder):
    result = cli("status", "--url", f"{url}|c=sqlite:///{folder}/none.db", code=3)
    assert "there is no store at" in result.output
    assert not (folder / "none.db").exists()


def test_jobs_of_all_shards_are_listed_and_found(cli, url):
    listed = cli.json("jobs", "list", "--url", url)
    assert len(listed["jobs"]) == 5
    assert cli.json("jobs", "show", listed["jobs"][0]["id"], "--url", url)
