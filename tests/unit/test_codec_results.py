from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pydantic
import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from turnout.codec import Signature, decode_value, encode_value
from turnout.errors import ArgumentError


@dataclass
class Line:
    product: uuid.UUID
    price: Decimal
    at: datetime | None = None


@dataclass
class Order:
    lines: list[Line]
    tags: set[str] = field(default_factory=set)


class Node(msgspec.Struct):
    value: int
    below: list[Node] = []


class Plain:
    pass


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    id: uuid.UUID
    when: datetime
    alias: int = pydantic.Field(default=1, alias="someAlias")


class Table(DeclarativeBase):
    pass


class User(Table):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)


def signature(fn):
    return Signature(fn, "shop.task")


def generator():
    yield 1


def circular():
    value: list[Any] = []
    value.append(value)
    return value


LINE = Line(uuid.uuid4(), Decimal("9.90"), datetime(2024, 1, 2, tzinfo=UTC))
MODEL = Model(id=uuid.uuid4(), when=datetime(2024, 1, 2, tzinfo=UTC), someAlias=5)


def test_keys_are_equal_when_the_arguments_are():
    def task(a, b=2, *, c: set[str] = frozenset()):
        pass

    sign = signature(task)
    assert sign.encode_key((1,), {}) == sign.encode_key((), {"b": 2, "a": 1}) == '{"a":1}'
    assert sign.encode_key((1,), {"c": {"y", "x", "z"}}) == '{"a":1,"c":["x","y","z"]}'
    assert sign.encode_key(({"y": 1, "x": 2},), {}) == sign.encode_key(({"x": 2, "y": 1},), {})
    assert sign.encode_key((1, 3), {}) != sign.encode_key((1,), {})
    with pytest.raises(ArgumentError):
        sign.encode_key((Plain(),), {})


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Any, [1, None, "x"]),
        (int, 7),
        (datetime, datetime(2024, 1, 1, tzinfo=UTC)),
        (Order, Order([LINE], {"a"})),
        (Model, MODEL),
        (type(None), None),
    ],
)
def test_results_come_back(kind, value):
    assert decode_value(encode_value(value), kind) == value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Plain(), "the result is of type"),
        ([1, math.nan], "the result[1] is nan"),
        (User(id=1), "database record"),
        ("\ud800", "lone surrogate"),
        (circular(), "nested too deeply"),
        (generator(), "list(...)"),
    ],
)
def test_results_that_cannot_be_kept_say_why(value, words):
    with pytest.raises(ArgumentError) as caught:
        encode_value(value)
    assert words in str(caught.value)


def test_a_result_that_does_not_read_says_so():
    for text, kind in (("nope", Any), ('"x"', int), ("", Any)):
        with pytest.raises(ArgumentError, match="does not read"):
            decode_value(text, kind)
