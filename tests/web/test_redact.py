"""Hidden arguments: marked ones and named ones, wherever they appear; an admin may read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec
import pydantic
import pytest

from turnout import Secret, Turnout
from turnout.ids import new_id
from turnout.job import AttemptRecord, JobRecord, State
from turnout.secret import SecretMark
from turnout.web.redact import HIDDEN, Redactor

SAFE = '{"order_id":7,"note":"ring twice"}'


@dataclass
class Card:
    number: Secret[str]
    holder: str


class Login(msgspec.Struct, rename="camel"):
    user_name: str
    pass_phrase: Secret[str]


class Account(pydantic.BaseModel):
    iban: Annotated[str, SecretMark()] = pydantic.Field(alias="accountNumber")
    owner: str


@pytest.fixture
def jobs():
    app = Turnout("memory:")

    @app.task(name="pay")
    def pay(
        order_id: int, card: Secret[str], *rest: Secret[str], more: list[Secret[str]] | None = None
    ): ...

    @app.task(name="nested")
    def nested(card: Card, login: Login | None, accounts: list[Account]): ...

    @app.task(name="plain")
    def plain(order_id: int, note: str): ...

    return app


def record(task, args, **more):
    return JobRecord(
        id=new_id(), task=task, queue="default", state=State.DEAD, args=args, **more
    )  # fmt: skip


def shown(jobs, task, args, **more):
    return Redactor(jobs, ("badge_number",)).hide(record(task, args, **more))


def test_a_secret_is_its_plain_value_in_code_and_on_the_wire(jobs):
    seen = []

    @jobs.task(name="take")
    def take(key: Secret[str]) -> None:
        seen.append(key)

    take("k1")
    assert seen == ["k1"]
    assert take.prepare("k2").new.args == '{"key":"k2"}'


NESTED = (
    '{"card":{"number":"S","holder":"A"},"login":{"userName":"a","passPhrase":"S"},'
    '"accounts":[{"accountNumber":"S","owner":"A"}]}'
)


@pytest.mark.parametrize(
    ("task", "args"),
    [
        ("plain", SAFE),
        ("pay", '{"order_id":7,"card":"S"}'),
        ("pay", '[7,"S"]'),
        ("pay", '{"order_id":7,"card":"S","*":["S"]}'),
        ("pay", '{"order_id":7,"card":"S","more":["S"]}'),
        ("nested", NESTED),
        ("plain", '{"a":{"api_key":"S","b":[{"Password":"S"}]}}'),
        ("gone", '{"accessToken":"S","tokens_used":3}'),
        ("gone", '{"badgeNumber":"S","x":{"badge-number":"S"}}'),
        ("plain", "{broken"),
    ],
)
def test_what_is_hidden(jobs, task, args):
    expected = args.replace('":["S"]', '":"S"').replace('"S"', '"[hidden]"')
    assert shown(jobs, task, args).args == expected


def test_what_does_not_read_is_hidden_whole(jobs):
    assert shown(jobs, "pay", "{broken").args == HIDDEN


def test_a_secret_is_blotted_out_of_the_whole_story(jobs):
    entry = AttemptRecord(
        attempt=1, started_at=0, finished_at=1, worker="w", outcome="dead", error="E",
        message="card tok_4242 declined", traceback="charge('tok_4242')\nE: tok_4242",
    )  # fmt: skip
    found = shown(
        jobs,
        "pay",
        '{"order_id":7,"card":"tok_4242"}',
        attempts=(entry,),
        error="E",
        reason="gave up on tok_4242",
        result='{"charged":"tok_4242"}',
        progress='["tok_4242"]',
        context='{"password":"swordfish"}',
        unique_key='pay:{"card":"tok_4242","order_id":7}',
    )
    text = msgspec.json.encode(found).decode()
    assert "tok_4242" not in text
    assert "swordfish" not in text
    assert "7" in text


def test_text_that_only_looks_like_a_key_is_left_alone(jobs):
    found = shown(jobs, "plain", SAFE, unique_key="plain:order-7", result='"token"')
    assert (found.unique_key, found.result) == ("plain:order-7", '"token"')


def test_deep_arguments_end_somewhere(jobs):
    deep = '{"a":' * 60 + '{"token":"t"}' + "}" * 60
    assert '"t"' not in shown(jobs, "plain", deep).args


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_no_page_shows_it_but_to_an_admin(open_as, shop, role):
    shop.refund.enqueue(7, "tok_4242")
    job_id = shop.end(
        State.DEAD, error="E", message="no tok_4242", traceback="tok_4242", reason="tok_4242"
    )
    somebody = open_as(role)
    group = "/dead/group?task=shop.refund&error=E"
    for path in ("/", "/jobs", "/dead", group, f"/jobs/{job_id}"):
        assert "tok_4242" not in somebody.get(path), path
    for path in ("/overview.json", "/jobs.json", "/dead.json", f"/jobs/{job_id}.json"):
        assert "tok_4242" not in somebody.get(path), path
    assert "tok_4242" not in somebody.post(f"/jobs/{job_id}/reveal", code=403).text
    assert "tok_4242" not in somebody.get(f"/jobs/{job_id}/edit", code=403)


def test_an_operator_runs_it_again_as_it_is(open_as, shop):
    shop.refund.enqueue(7, "tok_4242")
    job_id = shop.end(State.DEAD, error="E")
    operator = open_as("operator")
    text = operator.post(f"/jobs/{job_id}/again", code=403, args='{"order_id":8}').text
    assert "only an admin may edit" in text
    to = operator.post(f"/jobs/{job_id}/again").headers["location"]
    made = shop.app.job(to.split("/")[-1].partition("?")[0]).refresh()
    assert made.args == '{"order_id":7,"card":"tok_4242"}'


def test_an_admin_reveals_it_and_that_is_written_down(admin, shop):
    job_id = shop.refund.enqueue(7, "tok_4242").id
    page = admin.get(f"/jobs/{job_id}")
    assert "tok_4242" not in page
    assert "Show what is hidden" in page
    assert "tok_4242" in admin.post(f"/jobs/{job_id}/reveal", code=200).text
    assert "tok_4242" in admin.get(f"/jobs/{job_id}/edit")
    entries = admin.json("/audit.json")["entries"]
    assert [one["action"] for one in entries] == ["reveal", "reveal"]
    assert job_id in entries[0]["subject"]
