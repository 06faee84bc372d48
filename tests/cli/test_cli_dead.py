from __future__ import annotations

from turnout.job import State


def test_list_names_the_error(cli, shop):
    job_id = shop.dead()
    shop.ready()

    assert [job["id"] for job in cli.json("dead", "list")["jobs"]] == [job_id]
    assert "builtins.KeyError: 'x': no attempts left" in cli("dead", "list").stdout


def test_retry_one(cli, shop):
    job_id, other = shop.dead(), shop.dead()

    cli("dead", "retry", job_id)
    assert shop.state(job_id) is State.QUEUED
    assert shop.state(other) is State.DEAD


def test_retry_filtered_and_all(cli, shop):
    broken, late = shop.dead(), shop.dead(error="builtins.TimeoutError")

    assert (
        "1 job retried" in cli("dead", "retry", "--error", "builtins.TimeoutError", "--yes").stdout
    )
    assert shop.state(late) is State.QUEUED
    assert shop.state(broken) is State.DEAD
    assert "1 job retried" in cli("dead", "retry", "--all", "--yes").stdout
    assert "0 jobs retried" in cli("dead", "retry", "--all", "--yes").stdout


def test_a_retried_job_that_dies_again_is_not_retried_twice(cli, shop, monkeypatch):
    monkeypatch.setattr("turnout.cli.act.BATCH", 2)
    for _ in range(5):
        shop.dead()
    store = type(shop.store)
    original = store.change

    def change_and_die(self, where, action, **options):
        changed = original(self, where, action, **options)
        for _ in where.ids:
            shop.kill_next()
        return changed

    monkeypatch.setattr(store, "change", change_and_die)
    assert "5 jobs retried" in cli("dead", "retry", "--all", "--yes").stdout


def test_delete_leaves_the_living_alone(cli, shop):
    dead, ready = shop.dead(), shop.ready()

    said = cli("dead", "delete", dead, ready, code=1)
    assert f"{ready}: it is queued, not dead" in said.stderr
    assert shop.state(dead) is None
    assert shop.state(ready) is State.QUEUED
    cli("dead", "delete", "--all", "--yes")
    assert shop.state(ready) is State.QUEUED


def test_nothing_named_is_never_everything(cli, shop):
    assert "which jobs?" in cli("dead", "retry", code=2).stderr
    assert "which jobs?" in cli("dead", "delete", code=2).stderr


def test_a_filter_that_matches_nothing_is_exit_code_1(cli, shop):
    cli("dead", "retry", "--task", "nobody", "--yes", code=1)
