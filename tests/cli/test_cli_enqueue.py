from __future__ import annotations

import json
import time

import pytest

from turnout.cli.enqueue import parse_arguments
from turnout.errors import ArgumentError
from turnout.job import JobFilter
from turnout.store import open_store

CHARGE = ("enqueue", "-a", "shop.jobs", "shop.jobs.charge")
MAIL = ("enqueue", "-a", "shop.jobs", "shop.jobs.mail")


def stored():
    return open_store("sqlite:///jobs.db").find(JobFilter())


def test_prints_the_id_of_the_job(cli):
    job_id = cli(*CHARGE, "42").stdout.strip()

    (record,) = stored()
    assert record.id == job_id
    assert record.queue == "critical"
    assert json.loads(record.args) == {"order_id": 42}


def test_arguments_go_through_the_tasks_types(cli):
    cli(*CHARGE, "-7", '"2025-06-01"', "8", "9", 'note="a=b"', "extra=1.5")

    assert json.loads(stored()[0].args) == {
        "order_id": -7,
        "day": "2025-06-01",
        "*": [8, 9],
        "note": "a=b",
        "**": {"extra": 1.5},
    }


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (['"x"'], "Expected `int`, got `str`"),
        ([], "missing a required argument: 'order_id'"),
        (["1", '"monday"'], "$.day"),
        (["1", "order_id=2"], "multiple values for argument 'order_id'"),
        (["hello"], "a string is written '\"hello\"'"),
        (["1", "note=hey"], "hey is not JSON"),
        (["order_id=1", "2"], "put it before them"),
        (["order_id=1", "order_id=2"], "given twice"),
        (["1", "--dealy", "5"], "--dealy is not JSON"),
    ],
)
def test_refuses_what_does_not_fit(cli, folder, args, said):
    assert said in cli(*CHARGE, *args, code=1).stderr
    assert not (folder / "jobs.db").exists()


def test_options(cli):
    cli(*CHARGE, "1", "--delay", "1h30m", "--queue", "low", "--priority", "-3")

    (record,) = stored()
    assert record.run_at == pytest.approx(time.time() + 5400, abs=30)
    assert (record.queue, record.priority) == ("low", -3)
    assert "is not in the range" in cli(*CHARGE, "1", "--priority", "101", code=2).stderr
    assert "write 90s, 15m" in cli(*CHARGE, "1", "--delay", "soon", code=2).stderr


def test_a_taken_unique_key_is_said(cli):
    assert cli.json(*MAIL, '"ann"')["enqueued"] is True
    again = cli(*MAIL, '"ann"', code=1)
    assert "another job holds its unique key" in again.stderr
    assert again.stdout == ""


def test_an_unknown_task_names_the_known_ones(cli):
    said = cli("enqueue", "-a", "shop.jobs", "shop.jobs.mial", code=1).stderr
    assert "known are: shop.jobs.charge, shop.jobs.mail" in said


def test_needs_an_application(cli):
    assert "which application?" in cli("enqueue", "shop.jobs.mail", code=1).stderr


def test_names_may_be_any_identifier():
    assert parse_arguments(("1", "größe=2", '"k=v"'[:0] + "null")[:2]) == ([1], {"größe": 2})
    assert parse_arguments(('"k=v"', "null")) == (["k=v", None], {})
    with pytest.raises(ArgumentError, match="not JSON"):
        parse_arguments(("\udc80",))
