"""What is refused where a job enters: its arguments. Nothing of it is ever recorded."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from turnout import ArgumentError, ConfigError, PayloadTooLarge, Turnout
from turnout.job import JobFilter

URLS = ("memory:", "sqlite:///jobs.db")


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture(params=URLS)
def jobs(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = Turnout(request.param, queues=["default", "low"], max_payload=1000)
    yield app
    assert app.store.count() == [], "nothing was recorded"
    assert app.store.find(JobFilter()) == []
    app.close()


@pytest.fixture
def charge(jobs):
    @jobs.task(name="charge")
    def charge(order_id: int, note: str = "") -> None: ...

    return charge


@pytest.fixture
def loose(jobs):
    @jobs.task(name="loose")
    def loose(value) -> None: ...

    return loose


def says(error, *words: str) -> None:
    message = str(error.value)
    for word in words:
        assert word in message, message


# ---- arguments


def test_arguments_of_the_wrong_type(charge):
    with pytest.raises(ArgumentError) as error:
        charge.enqueue("seven")
    says(error, "charge", "order_id", "int", "str")


@pytest.mark.parametrize(
    ("args", "kwargs", "word"),
    [
        ((), {}, "order_id"),
        ((1, "x", 3), {}, "too many"),
        ((1,), {"order": 2}, "order"),
        ((1,), {"order_id": 2}, "order_id"),
    ],
)
def test_arguments_that_do_not_fit_the_signature(charge, args, kwargs, word):
    with pytest.raises(ArgumentError) as error:
        charge.enqueue(*args, **kwargs)
    says(error, "charge", word, "signature")


@pytest.mark.parametrize(
    "value",
    [object(), lambda: 1, open, {1, "a", object()}, 1j, range(3), ValueError("x"), {object(): 1}],
)
def test_arguments_that_json_cannot_carry(loose, value):
    with pytest.raises(ArgumentError) as error:
        loose.enqueue(value)
    says(error, "cannot enqueue loose", "$.value")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0, float("-inf")]])
def test_numbers_that_json_does_not_have(loose, value):
    with pytest.raises(ArgumentError) as error:
        loose.enqueue(value)
    says(error, "$.value")


def test_an_orm_instance_is_refused_with_the_advice_to_pass_its_id(loose):
    for value in (Order(id=7), [Order(id=7)], {"order": Order(id=7)}):
        with pytest.raises(ArgumentError) as error:
            loose.enqueue(value)
        says(error, "$.value", "Order", "id")


def test_a_task_that_takes_an_orm_instance_is_refused_at_its_definition(jobs):
    def charge(order: Order) -> None: ...

    charge.__annotations__["order"] = Order
    with pytest.raises(ConfigError) as error:
        jobs.task(charge)
    says(error, "order", "id")


def test_a_value_that_holds_itself(loose):
    value: list = []
    value.append(value)
    with pytest.raises(ArgumentError) as error:
        loose.enqueue(value)
    says(error, "nested too deeply", "flatter")


def test_a_payload_over_the_limit_names_the_largest_argument_and_the_way_out(charge):
    with pytest.raises(PayloadTooLarge) as error:
        charge.enqueue(1, "x" * 1000)
    says(error, "1,0", "max_payload", "note", "id or path")


def test_a_payload_at_the_limit_is_taken():
    app = Turnout("memory:", max_payload=1000)
    task = app.task(name="t")(lambda value: None)
    fitting = "x" * (1000 - len('{"value":""}'))
    assert task.enqueue(fitting).enqueued
    with pytest.raises(PayloadTooLarge):
        task.enqueue(fitting + "x")


def test_the_default_limit_is_a_megabyte():
    app = Turnout("memory:")
    task = app.task(name="t")(lambda value: None)
    with pytest.raises(PayloadTooLarge, match=r"1,048,576"):
        task.enqueue("x" * 1_048_576)


def test_one_bad_job_of_many_leaves_its_chunk_unrecorded(jobs, charge):
    prepared = (charge.prepare(n if n < 5 else "five") for n in range(9))
    with pytest.raises(ArgumentError):
        jobs.enqueue_many(prepared)


def test_enqueue_many_takes_prepared_jobs_only(jobs, charge):
    for wrong in ([1], [charge], [charge.prepare(1), None]):
        with pytest.raises(ArgumentError) as error:
            jobs.enqueue_many(wrong)
        says(error, "prepare", "got")


async def try_aenqueue(task, *args):
    await task.aenqueue(*args)


def test_the_async_enqueue_refuses_the_same(charge):
    import asyncio

    with pytest.raises(ArgumentError):
        asyncio.run(try_aenqueue(charge, "seven"))


# ---- text that stores cannot hold


def test_lone_surrogates_in_arguments_are_refused_with_their_path(loose):
    for value in ("\ud800", ["a", "\udfff"], {"a": {"b": "x\udc00"}}, {"\ud800": 1}):
        with pytest.raises(ArgumentError) as error:
            loose.enqueue(value)
        says(error, "$.value", "surrogate")


def test_a_context_variable_that_json_cannot_carry(jobs, charge):
    from contextvars import ContextVar

    var: ContextVar = ContextVar("who")
    jobs.propagate(var)
    for value in (object(), "\ud800", float("nan"), b"x", {1: 2}, (1, 2)):
        token = var.set(value)
        try:
            with pytest.raises(ArgumentError, match="context variable"):
                charge.enqueue(1)
        finally:
            var.reset(token)
