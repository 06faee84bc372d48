from __future__ import annotations

import pytest

from turnout.job import State

UNKNOWN = "0197a6c2-5f0e-7c3a-9d1b-2f4e6a8c0b1d"


def ids(document):
    return [job["id"] for job in document["jobs"]]


def test_list_shows_newest_first_and_pages(cli, shop):
    first, second, third = shop.ready(1), shop.ready(2), shop.ready(3)

    page = cli.json("jobs", "list", "--limit", "2")
    assert ids(page) == [third, second]
    assert page["next"] == second
    rest = cli.json("jobs", "list", "--after", page["next"])
    assert ids(rest) == [first]
    assert rest["next"] is None
    assert f"--after {second}" in cli("jobs", "list", "-n", "2").stderr


def test_list_is_plain_aligned_text_in_a_pipe(cli, shop):
    job_id = shop.ready()

    header, row = cli("jobs", "list").stdout.splitlines()
    assert header.split() == ["id", "state", "queue", "task", "attempt", "when", "what"]
    assert row.startswith(f"{job_id}  ready  critical  shop.jobs.charge")
    assert header.index("queue") == row.index("critical")


def test_list_is_a_table_on_a_terminal(cli, shop, monkeypatch):
    monkeypatch.setattr("turnout.cli.output.is_terminal", lambda: True)
    shop.ready()

    assert "─" in cli("jobs", "list").stdout


def test_an_empty_list_is_an_answer(cli, shop):
    assert "no such jobs" in cli("jobs", "list").stderr
    assert cli.json("jobs", "list") == {"jobs": [], "next": None}


def test_filters(cli, shop):
    dead, scheduled = shop.dead(), shop.scheduled()
    mail, running = shop.mail.enqueue("ann").id, shop.running()

    def listed(*options):
        return set(ids(cli.json("jobs", "list", *options)))

    assert listed("--state", "dead") == {dead}
    assert listed("--state", "dead", "--state", "running") == {dead, running}
    assert listed("--state", "scheduled") == {scheduled}
    assert listed("--state", "ready") == {mail}
    assert listed("--state", "queued") == {mail, scheduled}
    assert listed("--queue", "default") == {mail}
    assert listed("--task", "shop.jobs.mail") == {mail}
    assert listed("--error", "builtins.KeyError") == {dead}
    assert listed("--since", "1h") == {dead, scheduled, mail, running}
    assert listed("--before", "1h") == set()


def test_a_view_and_a_state_cannot_be_joined(cli, shop):
    said = cli("jobs", "list", "--state", "ready", "--state", "dead", code=2).stderr

    assert "cannot be joined" in said


@pytest.mark.parametrize("option", ["--since", "--before"])
def test_times_that_cannot_be_read(cli, shop, option):
    assert "1h or 2d (ago)" in cli("jobs", "list", option, "yesterday", code=2).stderr


def test_show_answers_for_every_state(cli, shop):
    done, dead, scheduled = shop.succeeded(), shop.dead(), shop.scheduled()
    running, ready = shop.running(), shop.ready()

    def answer(job_id):
        return cli("jobs", "show", job_id).stdout.splitlines()[0]

    assert answer(done).startswith("Yes: it succeeded")
    assert "on attempt 1 in 250ms." in answer(done)
    assert answer(dead).startswith("No: it died")
    assert f"turnout dead retry {dead}" in answer(dead)
    assert answer(scheduled).startswith("Not yet: it is scheduled in ")
    assert answer(running).startswith("It is running on web1:4711:x")
    assert answer(ready).startswith("Not yet: it waits in queue critical")
    cli("jobs", "cancel", running, ready)
    assert answer(running).endswith("and was asked to stop.")
    assert answer(ready).startswith("No: it was cancelled")


def test_show_tells_every_attempt_with_its_traceback_and_the_result(cli, shop):
    dead, done = shop.dead(), shop.succeeded()

    said = cli("jobs", "show", dead).stdout
    assert "attempt 1: dead after 500ms" in said
    assert "  Traceback ...\n  builtins.KeyError: 'x'" in said
    assert "no attempts left" in said
    assert '{"paid":true}' in cli("jobs", "show", done).stdout


def test_show_as_json_is_the_whole_record(cli, shop):
    record = cli.json("jobs", "show", shop.succeeded())

    assert record["state"] == "succeeded"
    assert record["args"] == {"order_id": 1}
    assert record["result"] == {"paid": True}
    assert record["answer"].startswith("Yes")
    assert record["finished_at"] == 10.25


def test_show_says_why_a_due_job_does_not_run(cli, shop):
    job_id = shop.ready()

    assert "No worker is running" in cli("jobs", "show", job_id).stdout
    cli("queues", "pause", "critical")
    assert "turnout queues resume critical" in cli("jobs", "show", job_id).stdout


def test_show_of_an_unknown_id_says_what_that_can_mean(cli, shop):
    said = cli("jobs", "show", UNKNOWN, code=1).stderr

    for reason in ("rolled back", "another store", "pruned", "deleted"):
        assert reason in said


def test_show_keeps_control_characters_from_the_terminal(cli, shop):
    job_id = shop.dead(message="\x1b[2Jgone\x07 [red]x[/red]")

    for said in (cli("jobs", "show", job_id).stdout, cli("jobs", "list").stdout):
        assert "\x1b" not in said
        assert "\x07" not in said
    assert r"\u001b[2Jgone\u0007 [red]x[/red]" in cli("jobs", "show", job_id).stdout


def test_retry_cancel_and_delete_by_id(cli, shop):
    dead, ready, scheduled = shop.dead(), shop.ready(), shop.scheduled()

    assert "1 job retried" in cli("jobs", "retry", dead).stdout
    assert shop.state(dead) is State.QUEUED
    assert cli.json("jobs", "cancel", ready) == {
        "action": "cancel", "changed": 1, "unchanged": [],
    }  # fmt: skip
    assert shop.state(ready) is State.CANCELLED
    cli("jobs", "delete", ready, scheduled)
    assert shop.state(ready) is shop.state(scheduled) is None


def test_an_id_that_did_not_change_says_why(cli, shop):
    done, ready, running = shop.succeeded(), shop.ready(), None

    assert "it succeeded" in cli("jobs", "retry", done, code=1).stderr
    assert "it is due already" in cli("jobs", "retry", ready, code=1).stderr
    assert "it is over: succeeded" in cli("jobs", "cancel", done, code=1).stderr
    cli("jobs", "delete", ready)
    running = shop.running()
    assert "it is running" in cli("jobs", "retry", running, code=1).stderr
    assert "cancel it first" in cli("jobs", "delete", running, code=1).stderr
    cli("jobs", "cancel", running)
    assert "asked to stop already" in cli("jobs", "cancel", running, code=1).stderr
    assert "no trace" in cli("jobs", "cancel", UNKNOWN, code=1).stderr


def test_one_known_and_one_unknown_id(cli, shop):
    job_id = shop.ready()

    done = cli.json("jobs", "cancel", job_id, UNKNOWN, code=1)
    assert done["changed"] == 1
    assert done["unchanged"] == [{"id": UNKNOWN, "why": "no trace of it is left here"}]


def test_a_revival_that_another_job_stands_in_the_way_of(cli, shop):
    mail = shop.app.task(name="only", unique=True)(lambda to: None)
    first = mail.enqueue("ann").id
    cli("jobs", "cancel", first)
    mail.enqueue("ann")

    assert "unique key" in cli("jobs", "retry", first, code=1).stderr


@pytest.mark.parametrize("action", ["retry", "cancel", "delete"])
def test_nothing_named_is_never_everything(cli, shop, action):
    job_id = shop.scheduled()

    assert "which jobs?" in cli("jobs", action, code=2).stderr
    assert "not both" in cli("jobs", action, job_id, "--queue", "x", code=2).stderr
    assert "not both" in cli("jobs", action, job_id, "--all", code=2).stderr
    assert shop.state(job_id) is State.QUEUED


@pytest.mark.parametrize("action", ["retry", "cancel", "delete"])
def test_many_jobs_are_not_changed_where_nobody_can_be_asked(cli, shop, action):
    assert "add --yes" in cli("jobs", action, "--all", code=2).stderr


def test_acting_by_filter_and_on_all(cli, shop):
    for n in range(5):
        shop.ready(n)
    mail = shop.mail.enqueue("ann").id

    assert "5 jobs cancelled" in cli("jobs", "cancel", "--queue", "critical", "--yes").stdout
    assert shop.state(mail) is State.QUEUED
    assert "nothing" not in cli("jobs", "cancel", "--queue", "critical", "--yes", code=1).stdout
    assert "6 jobs deleted" in cli("jobs", "delete", "--all", "--yes").stdout
    assert "0 jobs deleted" in cli("jobs", "delete", "--all", "--yes").stdout


def test_many_are_changed_in_bounded_batches(cli, shop, monkeypatch):
    monkeypatch.setattr("turnout.cli.act.BATCH", 3)
    limits = []
    original = type(shop.store).change

    def watched(self, where, action, *, limit=1000, now=None):
        limits.append(limit)
        return original(self, where, action, limit=limit, now=now)

    monkeypatch.setattr(type(shop.store), "change", watched)
    for n in range(8):
        shop.ready(n)

    assert "8 jobs cancelled" in cli("jobs", "cancel", "--all", "--yes").stdout
    assert limits == [3, 3, 3, 3]
    limits.clear()
    assert "8 jobs retried" in cli("jobs", "retry", "--state", "cancelled", "--yes").stdout
    assert limits == [3, 3, 3]


def test_a_person_is_asked_first(cli, shop, monkeypatch):
    monkeypatch.setattr("turnout.cli.output.is_interactive", lambda: True)
    job_id = shop.ready()

    refused = cli("jobs", "delete", "--task", "shop.jobs.charge", input="n\n", code=1)
    assert "Delete jobs of task shop.jobs.charge (1)?" in refused.stderr
    assert "nothing was changed" in refused.stderr
    assert "interrupted" in cli("jobs", "delete", "--all", input="", code=130).stderr
    assert shop.state(job_id) is State.QUEUED
    cli("jobs", "delete", "--all", input="y\n")
    assert shop.state(job_id) is None
    cli("jobs", "delete", "--all", "--yes")


def test_a_progress_bar_stands_on_a_terminals_stderr(cli, shop, monkeypatch):
    import turnout.cli.act as act  # noqa: PLR0402

    class Terminal:
        stderr = type("E", (), {"isatty": staticmethod(lambda: True)})

    monkeypatch.setattr(act, "sys", Terminal)
    shop.ready()
    assert "1 job cancelled" in cli("jobs", "cancel", "--all", "--yes").stdout
